/* Writes a line and ends with 17: as few instructions as a program can have, for runs that are interrupted at each. */
.globl _start
_start:
    mov $1, %eax
    mov $1, %edi
    lea line(%rip), %rsi
    mov $8, %edx
    syscall
    mov $231, %eax
    mov $17, %edi
    syscall
.section .rodata
line: .ascii "stepped\n"
.section .note.GNU-stack, "", @progbits
