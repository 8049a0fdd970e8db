#include <iostream>

#include "ctl/posternctl.h"

int main(int argc, char** argv) {
  return postern::ctl::Run({argv + 1, argv + argc}, std::cin, std::cout, std::cerr);
}
