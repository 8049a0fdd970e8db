#include "ctl/import_file.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace postern::ctl {
namespace {

// "LINE kind NAME HASH|TARGETS", or "LINE NAME: fault".
std::string Text(absl::string_view format, absl::string_view text, absl::string_view domain = "") {
  absl::StatusOr<std::vector<ImportLine>> lines = ReadImport(format, text, domain);
  if (!lines.ok()) return std::string(lines.status().message());
  std::vector<std::string> out;
  for (const ImportLine& line : *lines) {
    const char* const kind = line.kind == ImportLine::Kind::kDomain    ? "domain"
                             : line.kind == ImportLine::Kind::kAccount ? "account"
                                                                       : "alias";
    out.push_back(line.fault.empty()
                      ? absl::StrCat(line.line, " ", kind, " ", line.name, " ", line.password_hash,
                                     absl::StrJoin(line.targets, "|"))
                      : absl::StrCat(line.line, " ", line.name, ": ", line.fault));
  }
  return absl::StrJoin(out, "\n");
}

TEST(ImportFile, DovecotsPasswdFile) {
  EXPECT_EQ(Text("passwd-file",
                 "# people\n\nalice@a.test:{SSHA}x=:1000:1000::/home/alice::quota=1G\r\n"
                 "bob@a.test:$6$salt$hash\ncarol:{SSHA}y\ndave@a.test::\nerin@a.test"),
            "3 account alice@a.test {SSHA}x=\n4 account bob@a.test $6$salt$hash\n"
            "5 carol: \"carol\" has no domain: give --domain\n"
            "6 dave@a.test: has no password hash\n7 erin@a.test: has no password hash");
  EXPECT_EQ(Text("passwd-file", "carol:{SSHA}y\n", "a.test"), "1 account carol@a.test {SSHA}y");
  EXPECT_EQ(Text("passwd-file", ""), "");
}

TEST(ImportFile, PostfixsVirtualMaps) {
  EXPECT_EQ(Text("virtual",
                 "sales@a.test alice@a.test,\n   bob@a.test\n# none\na.test anything\n"
                 "@a.test\trest@a.test\nroot alice@a.test\nlonely@a.test\n"),
            "4 domain a.test \n1 alias sales@a.test alice@a.test|bob@a.test\n"
            "5 alias @a.test rest@a.test\n6 root: \"root\" has no domain: give --domain\n"
            "7 lonely@a.test: an alias without targets");
  EXPECT_EQ(Text("virtual", "root alice, bob@b.test\n", "a.test"),
            "1 alias root@a.test alice@a.test|bob@b.test");
}

TEST(ImportFile, Csv) {
  EXPECT_EQ(
      Text("csv",
           "address,password_hash,targets\r\nalice@a.test,{SSHA}x,\r\n"
           "\"\"\"a b\"\"@a.test\",\"{SSHA}y,z\",\r\n\r\nsales@a.test,,alice@a.test b@a.test\r\n"
           "both@a.test,{SSHA}x,alice@a.test\r\nnone@a.test,,\r\nshort@a.test\r\n"),
      "2 account alice@a.test {SSHA}x\n3 account \"a b\"@a.test {SSHA}y,z\n"
      "7 none@a.test: has no password hash\n8 short@a.test: has 1 fields, the header 3\n"
      "5 alias sales@a.test alice@a.test|b@a.test\n"
      "6 both@a.test: has both a password hash and targets");
  EXPECT_EQ(Text("csv", "adress,password_hash\n"),
            "line 1: column \"adress\" is none of address, password_hash, targets; did you mean "
            "\"address\"?");
  EXPECT_EQ(Text("csv", "targets\n"), "line 1: there is no column \"address\"");
  EXPECT_EQ(Text("csv", ""), "");
  // A quote that does not end.
  EXPECT_EQ(Text("csv", "address,password_hash\n\"alice@a.test,{SSHA}x\n"),
            "2 alice@a.test,{SSHA}x\n: has 1 fields, the header 2");
}

TEST(ImportFile, NoOtherFormat) { EXPECT_EQ(Text("ldif", "x"), "no such format: ldif"); }

}  // namespace
}  // namespace postern::ctl
