// The smallest C++ program that uses an installed dptrain: prints the library's version.
#include <dptrain/dptrain.h>
#include <iostream>

int main() { std::cout << dpt_version() << '\n'; }
