#include <stdio.h>
#include <string.h>

enum { LIMIT = 100000 };
static char composite[LIMIT];

int main(void)
{
    int count = 0;
    for (long i = 2; i < LIMIT; i++) {
        if (composite[i])
            continue;
        count++;
        for (long k = i * i; k < LIMIT; k += i)
            composite[k] = 1;
    }
    printf("%d\n", count);
    return 0;
}
