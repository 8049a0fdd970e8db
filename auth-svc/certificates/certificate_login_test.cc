// What a CA signs is made by openssl as an operator would.
#include "auth-svc/certificates/certificate_login.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postern::auth::certificates {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CertificateVerifierTest : public testing::Test {
 protected:
  CertificateVerifierTest()
      : folder_(absl::StrCat(std::getenv("TEST_TMPDIR"), "/", getpid(), "-",
                             testing::UnitTest::GetInstance()->random_seed(), "-",
                             testing::UnitTest::GetInstance()->current_test_info()->name())) {
    Run(absl::StrCat("mkdir -p ", folder_));
    MakeCa("ca");
  }

  void Run(const std::string& command) {
    ASSERT_EQ(std::system(absl::StrCat("cd ", std::getenv("TEST_TMPDIR"), " && ", command,
                                       " >/dev/null 2>&1")
                              .c_str()),
              0)
        << command;
  }
  std::string File(const std::string& name) const { return absl::StrCat(folder_, "/", name); }
  void MakeCa(const std::string& name) {
    Run(absl::StrCat(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 ",
        "-subj /CN=", name, " -keyout ", File(name + ".key"), " -out ", File(name + ".pem")));
  }
  // DER of one that `ca` signs.
  std::string Issue(const std::string& ca, const std::string& extensions,
                    const std::string& days = "2") {
    std::ofstream(File("ext")) << extensions;
    Run(absl::StrCat("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj ",
                     "/CN=alice/emailAddress=subject@staff.test -keyout ", File("own.key"),
                     " -out ", File("own.csr")));
    Run(absl::StrCat("openssl x509 -req -in ", File("own.csr"), " -CA ", File(ca + ".pem"),
                     " -CAkey ", File(ca + ".key"), " -CAcreateserial -days ", days, " -extfile ",
                     File("ext"), " -outform DER -out ", File("own.der")));
    std::ifstream in(File("own.der"), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }
  absl::StatusOr<CertificateVerifier::Verified> Verify(const std::vector<std::string>& shown) {
    return (*CertificateVerifier::Open(File("ca.pem")))->Verify(shown);
  }

  const std::string folder_;
};

TEST_F(CertificateVerifierTest, ItsAddressesAreThoseOfItsNames) {
  auto verified = Verify({Issue("ca",
                                "subjectAltName=email:alice@staff.test,DNS:other.test,"
                                "email:a@staff.test\nextendedKeyUsage=clientAuth\n")});
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_THAT(verified->addresses, ElementsAre("alice@staff.test", "a@staff.test"));
  EXPECT_FALSE(verified->serial.empty());
}

TEST_F(CertificateVerifierTest, WhatIsNotToLogInWithIsRefused) {
  const std::string alice = "subjectAltName=email:alice@staff.test\n";
  MakeCa("other");
  struct Case {
    std::vector<std::string> shown;
    const char* why;
  };
  const std::string good = Issue("ca", alice);
  for (const Case& one : std::vector<Case>{
           {{}, "shows no certificate"},
           {{"no DER"}, "that is no certificate"},
           {{good + "x"}, "that is no certificate"},
           {{Issue("other", alice)}, "unable to get local issuer certificate"},
           {{Issue("ca", alice, "-1")}, "certificate has expired"},
           {{Issue("ca", alice + "extendedKeyUsage=serverAuth\n")}, "purpose"},
           {{Issue("ca", "subjectAltName=DNS:alice.staff.test\n")}, "has no address"},
       }) {
    const auto verified = Verify(one.shown);
    EXPECT_TRUE(absl::IsUnauthenticated(verified.status())) << one.why;
    EXPECT_THAT(std::string(verified.status().message()), HasSubstr(one.why));
  }
  EXPECT_TRUE(Verify({good}).ok());
}

TEST_F(CertificateVerifierTest, AnAuthorityBetweenIsShownByTheClient) {
  MakeCa("between");
  std::ofstream(File("ext")) << "basicConstraints=critical,CA:TRUE\n";
  Run(absl::StrCat("openssl req -new -key ", File("between.key"), " -subj /CN=between -out ",
                   File("between.csr")));
  Run(absl::StrCat("openssl x509 -req -in ", File("between.csr"), " -CA ", File("ca.pem"),
                   " -CAkey ", File("ca.key"), " -CAcreateserial -days 2 -extfile ", File("ext"),
                   " -out ", File("between.pem")));
  Run(absl::StrCat("openssl x509 -in ", File("between.pem"), " -outform DER -out ",
                   File("between.der")));
  std::ifstream in(File("between.der"), std::ios::binary);
  const std::string between(std::istreambuf_iterator<char>(in), {});
  const std::string own = Issue("between", "subjectAltName=email:alice@staff.test\n");
  EXPECT_FALSE(Verify({own}).ok());
  EXPECT_TRUE(Verify({own, between}).ok());
  EXPECT_TRUE(Verify({own, "junk", between}).ok());
}

TEST_F(CertificateVerifierTest, AFileWithoutAuthoritiesIsNamed) {
  for (const char* text : {"", "no PEM"}) {
    std::ofstream(File("empty.pem")) << text;
    const absl::Status status = CertificateVerifier::Open(File("empty.pem")).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("empty.pem: no PEM certificate"));
  }
  EXPECT_FALSE(CertificateVerifier::Open(File("absent.pem")).ok());
}

}  // namespace
}  // namespace postern::auth::certificates
