/* The smallest C program that uses an installed dptrain: prints the library's version. */
#include <dptrain/dptrain.h>
#include <stdio.h>

int main(void) { return puts(dpt_version()) < 0; }
