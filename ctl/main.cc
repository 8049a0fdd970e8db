#include <openssl/crypto.h>

#include <iostream>

#include "ctl/posternctl.h"

int main(int argc, char** argv) {
  // As services/process/service_main.cc: gRPC's threads are still there in exit().
  OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);
  return postern::ctl::Run({argv + 1, argv + argc}, std::cin, std::cout, std::cerr);
}
