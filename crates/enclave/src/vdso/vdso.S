/* The vDSO's functions (vdso(7)): each is its system call, by the kernel's entry at %gs:8, with the return address in rcx. */

.macro call name, number
    .globl __vdso_\name
    .type __vdso_\name, @function
    .globl \name
    .type \name, @function
    .balign 16
\name:
__vdso_\name:
    .cfi_startproc
    endbr64
    movl $\number, %eax
    leaq 1f(%rip), %rcx
    jmp *%gs:8
    syscall
1:  ret
    .cfi_endproc
    .size __vdso_\name, . - __vdso_\name
    .size \name, . - \name
.endm

.text
call gettimeofday, 96
call time, 201
call clock_gettime, 228
call clock_getres, 229
call getcpu, 309

.section .note, "a", @note
    .long 2f - 1f, 4f - 3f, 0
1:  .asciz "Linux"
2:  .balign 4
3:  .long 0x060100
4:  .balign 4

.section .note.GNU-stack, "", @progbits
