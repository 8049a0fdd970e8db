// posternctl against a real auth-svc, over mutual TLS.
#include "ctl/posternctl.h"

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "auth-svc/test_service.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/identity/access.h"

namespace postern::ctl {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;

class PosternctlTest : public testing::Test {
 protected:
  PosternctlTest() { WriteConfig(config_file_, identity::kPosternctl, service_.port()); }

  void WriteConfig(const std::string& file, absl::string_view identity, int port) {
    const auto tls = service_.pki().IssueIdentity(identity);
    std::ofstream(file) << "mtls:\n  certificate_file: " << tls.certificate_file()
                        << "\n  private_key_file: " << tls.private_key_file()
                        << "\n  ca_file: " << tls.ca_file()
                        << "\nauth_svc:\n  target: 127.0.0.1:" << port
                        << "\nstore_svc:\n  target: 127.0.0.1:1\n"
                        << "relay_svc:\n  target: 127.0.0.1:1\n";
  }

  struct Result {
    int exit_code;
    std::string out;
    std::string err;
  };
  Result RunRaw(std::vector<std::string> arguments, const std::string& input = "") {
    std::istringstream in(input);
    std::ostringstream out;
    std::ostringstream err;
    const int exit_code = ctl::Run(std::move(arguments), in, out, err);
    return {exit_code, out.str(), err.str()};
  }
  Result RunWith(const std::string& config, std::vector<std::string> arguments,
                 const std::string& input = "") {
    arguments.insert(arguments.begin(), {"--config", config});
    return RunRaw(std::move(arguments), input);
  }
  // What it prints when it goes well.
  std::string Ok(std::vector<std::string> arguments, const std::string& input = "") {
    Result result = RunWith(config_file_, std::move(arguments), input);
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }
  // The error when it doesn't: always one line.
  std::string Fails(int exit_code, std::vector<std::string> arguments,
                    const std::string& input = "") {
    Result result = RunWith(config_file_, std::move(arguments), input);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
    return result.err;
  }

  auth::TestService service_;
  const std::string config_file_ = service_.folder() + "/posternctl.yaml";
};

TEST_F(PosternctlTest, Domains) {
  EXPECT_EQ(Ok({"domain", "list"}), "no domains\n");
  EXPECT_EQ(Ok({"--json", "domain", "list"}), "{\"domains\": []}\n");
  EXPECT_EQ(Ok({"domain", "add", "Example.test"}), "domain example.test added\n");
  EXPECT_EQ(Ok({"domain", "add", "a.test", "--json"}),
            "{\"name\": \"a.test\", \"enabled\": true, \"login_policy\": \"any\"}\n");
  EXPECT_EQ(Ok({"domain", "disable", "a.test"}), "domain a.test is disabled\n");
  EXPECT_EQ(Ok({"domain", "list"}),
            "DOMAIN        STATE     LOGINS\n"
            "a.test        disabled  any\n"
            "example.test  enabled   any\n");
  EXPECT_EQ(Ok({"domain", "set-login-policy", "a.test", "no-passwords"}),
            "logins of a.test: no-passwords\n");
  EXPECT_EQ(Ok({"--json", "domain", "list"}),
            "{\"domains\": [{\"name\": \"a.test\", \"enabled\": false, "
            "\"login_policy\": \"no_passwords\"}, {\"name\": \"example.test\", "
            "\"enabled\": true, \"login_policy\": \"any\"}]}\n");
  EXPECT_EQ(Ok({"domain", "set-login-policy", "a.test", "any"}), "logins of a.test: any\n");
  EXPECT_THAT(Fails(kWrongUse, {"domain", "set-login-policy", "a.test", "none"}),
              HasSubstr("no-passwords"));
  EXPECT_EQ(Ok({"domain", "remove", "a.test"}), "domain a.test removed\n");
  EXPECT_EQ(Fails(kRefused, {"domain", "remove", "a.test"}),
            "posternctl: there is no domain a.test\n");
}

TEST_F(PosternctlTest, AccountsAndTheirPasswords) {
  Ok({"domain", "add", "example.test"});
  EXPECT_THAT(Ok({"account", "add", "alice@example.test", "--password-stdin"}, "correct horse\n"),
              MatchesRegex("account alice@example.test added, mailbox [0-9a-f]{32}\n"));
  EXPECT_THAT(
      Ok({"--json", "account", "add", "bob@example.test", "--password-stdin"}, "correct horse\r\n"),
      MatchesRegex("\\{\"account_id\": \"[0-9a-f]{32}\", \"address\": \"bob@example.test\", "
                   "\"mailbox_id\": \"[0-9a-f]{32}\", \"enabled\": true, \"source\": \"\"\\}\n"));
  EXPECT_EQ(
      Ok({"account", "set-password", "bob@example.test", "--password-stdin"}, "battery staple"),
      "password of bob@example.test set\n");
  EXPECT_THAT(Ok({"account", "list", "--domain", "example.test"}),
              MatchesRegex("ADDRESS             STATE    MAILBOX                           SOURCE\n"
                           "alice@example.test  enabled  [0-9a-f]{32}  -\n"
                           "bob@example.test    enabled  [0-9a-f]{32}  -\n"));
  EXPECT_EQ(Ok({"account", "disable", "bob@example.test"}),
            "account bob@example.test is disabled\n");
  EXPECT_EQ(Ok({"--json", "account", "enable", "bob@example.test"}),
            "{\"enabled\": \"bob@example.test\"}\n");
  EXPECT_THAT(Ok({"account", "remove", "bob@example.test"}), HasSubstr("mailbox purge"));
  EXPECT_THAT(Fails(kRefused, {"account", "remove", "bob@example.test"}),
              HasSubstr("there is no account bob@example.test"));
}

TEST_F(PosternctlTest, ApplicationPasswords) {
  Ok({"domain", "add", "example.test"});
  Ok({"account", "add", "alice@example.test", "--password-stdin"}, "correct horse\n");
  EXPECT_EQ(Ok({"app-password", "list", "alice@example.test"}), "no app_passwords\n");
  const std::string shown = Ok({"app-password", "add", "alice@example.test", "phone"});
  EXPECT_THAT(shown,
              MatchesRegex("application password phone of alice@example.test \\(pop3, "
                           "submission\\), shown only now:\n([a-z2-7]{4}-){5}[a-z2-7]{4}\n"));
  const std::string password = shown.substr(shown.find('\n') + 1);
  EXPECT_THAT(
      Ok({"--json", "app-password", "add", "alice@example.test", "old laptop", "--for", "pop3"}),
      MatchesRegex("\\{\"app_password\": \\{\"name\": \"old laptop\", \"pop3\": true, "
                   "\"submission\": false, \"created_at\": [0-9]+, \"last_used_at\": "
                   "0\\}, \"password\": \"[-a-z2-7]{29}\"\\}\n"));
  EXPECT_THAT(Ok({"app-password", "list", "alice@example.test"}),
              MatchesRegex("NAME        FOR               MADE                     LAST USED\n"
                           "old laptop  pop3              20[-0-9: ]+UTC  -\n"
                           "phone       pop3, submission  20[-0-9: ]+UTC  -\n"));
  EXPECT_THAT(Ok({"auth", "test", "alice@example.test", "--password-stdin"}, password),
              HasSubstr("the account has 2 application passwords\nthe password is the application "
                        "password phone, for POP3 and submission\n"));
  EXPECT_THAT(Fails(kRefused, {"app-password", "add", "alice@example.test", "phone"}),
              HasSubstr("take another name, or remove it first"));
  EXPECT_THAT(Fails(kRefused, {"app-password", "add", "alice@example.test", ""}),
              HasSubstr("1 to 64 octets"));
  EXPECT_THAT(Fails(kWrongUse, {"app-password", "add", "alice@example.test", "x", "--for", "imap"}),
              HasSubstr("imap"));
  EXPECT_EQ(Ok({"app-password", "remove", "alice@example.test", "phone"}),
            "application password phone of alice@example.test removed\n");
  EXPECT_THAT(Fails(kRefused, {"app-password", "remove", "alice@example.test", "phone"}),
              HasSubstr("there is no application password \"phone\""));

  Ok({"domain", "set-login-policy", "example.test", "no-passwords"});
  const Result refused = RunWith(
      config_file_, {"auth", "test", "alice@example.test", "--password-stdin"}, "correct horse\n");
  EXPECT_EQ(refused.exit_code, kRefused);
  EXPECT_THAT(refused.out, HasSubstr("login policy is no-passwords"));
}

TEST_F(PosternctlTest, LoginsAreTried) {
  Ok({"domain", "add", "example.test"});
  Ok({"account", "add", "alice@example.test", "--password-stdin"}, "correct horse\n");
  Ok({"alias", "add", "sales@example.test", "alice@example.test"});
  const std::string ours = "example.test is one of our domains\n";
  const std::string account =
      "the account is alice@example.test, with mailbox [0-9a-f]{32}\n"
      "its password is kept here, as argon2id\n";
  const std::vector<std::string> test = {"auth", "test", "alice@example.test"};
  EXPECT_THAT(Ok(test), MatchesRegex(ours + account));
  const std::vector<std::string> with = {"auth", "test", "alice@example.test", "--password-stdin"};
  EXPECT_THAT(Ok(with, "correct horse\n"),
              MatchesRegex(ours + account + "the password is right\n"));
  // The steps come all the same.
  auto refused = [&](std::vector<std::string> arguments, const std::string& input = "") {
    const Result result = RunWith(config_file_, std::move(arguments), input);
    EXPECT_EQ(result.exit_code, kRefused);
    EXPECT_EQ(result.err, "posternctl: a client would be refused\n");
    return result.out;
  };
  EXPECT_THAT(refused(with, "wrong\n"), MatchesRegex(ours + account + "the password is wrong\n"));
  EXPECT_THAT(Ok({"--json", "auth", "test", "ALICE@example.test"}),
              HasSubstr("{\"outcome\": \"found\", \"steps\": [\"example.test is one of our"));
  Ok({"account", "disable", "alice@example.test"});
  EXPECT_THAT(refused(test), HasSubstr("the account is alice@example.test, disabled, with"));
  EXPECT_EQ(refused({"auth", "test", "sales@example.test"}),
            ours +
                "sales@example.test is an alias to alice@example.test: nobody logs in as an "
                "alias\n");
  EXPECT_EQ(refused({"auth", "test", "bob@example.test"}),
            ours + "there is no account bob@example.test\n");
  EXPECT_EQ(refused({"auth", "test", "a@other.test"}), "other.test is none of our domains\n");
  EXPECT_EQ(refused({"auth", "test", "no address"}),
            "nobody can be called that: \"no address\" is no mail address: no @\n");
}

TEST_F(PosternctlTest, PasswordHashes) {
  Ok({"domain", "add", "example.test"});
  const std::vector<std::string> add = {"account", "add", "alice@example.test",
                                        "--password-hash-stdin"};
  EXPECT_THAT(Fails(kRefused, add, "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"),
              HasSubstr("password hashes of scheme {SHA} are not taken (did you mean {SSHA}?)"));
  EXPECT_THAT(Fails(kWrongUse, add, "\n"), HasSubstr("the password hash is empty"));
  EXPECT_THAT(
      Fails(kWrongUse,
            {"account", "add", "a@example.test", "--password-stdin", "--password-hash-stdin"},
            "x\n"),
      HasSubstr("--password-stdin"));
  EXPECT_THAT(Ok(add, "{SSHA}DURtlrYNoqi6N86XLd9vAEUA2DwLSx6M\n"),
              HasSubstr("account alice@example.test added"));
}

TEST_F(PosternctlTest, BadPasswords) {
  Ok({"domain", "add", "example.test"});
  const std::vector<std::string> add = {"account", "add", "alice@example.test", "--password-stdin"};
  EXPECT_THAT(Fails(kWrongUse, add, ""), HasSubstr("standard input is empty"));
  EXPECT_THAT(Fails(kWrongUse, add, std::string(5000, 'x')), HasSubstr("too long"));
  EXPECT_THAT(Fails(kWrongUse, add, "correct \xff\xfe horse\n"), HasSubstr("not UTF-8"));
  EXPECT_THAT(Fails(kWrongUse, {"account", "remove", "al\xffice@example.test"}),
              HasSubstr("not UTF-8"));
  EXPECT_THAT(Fails(kRefused, add, "short\n"), HasSubstr("8 to 1024"));
  EXPECT_THAT(Fails(kRefused, add, "\n"), HasSubstr("8 to 1024"));
  // Never as an argument: that every user of the machine could read.
  EXPECT_THAT(Fails(kWrongUse, {"account", "add", "alice@example.test", "correct horse"}),
              HasSubstr("--help"));
}

TEST_F(PosternctlTest, Aliases) {
  Ok({"domain", "add", "example.test"});
  Ok({"account", "add", "alice@example.test", "--password-stdin"}, "correct horse\n");
  Ok({"account", "add", "bob@example.test", "--password-stdin"}, "correct horse\n");
  EXPECT_EQ(Ok({"alias", "add", "sales@example.test", "alice@example.test", "bob@example.test"}),
            "sales@example.test leads to alice@example.test, bob@example.test\n");
  EXPECT_EQ(Ok({"alias", "set", "sales@example.test", "bob@example.test"}),
            "sales@example.test leads to bob@example.test\n");
  EXPECT_EQ(Ok({"--json", "alias", "list"}),
            "{\"aliases\": [{\"address\": \"sales@example.test\", \"targets\": "
            "[\"bob@example.test\"], \"forwards\": [], \"senders_listed\": false, \"senders\": [], "
            "\"source\": \"\"}]}\n");
  EXPECT_THAT(Fails(kRefused, {"alias", "set", "sales@example.test", "sales@example.test"}),
              HasSubstr("sales@example.test -> sales@example.test"));
  EXPECT_THAT(Fails(kRefused, {"account", "remove", "bob@example.test"}),
              HasSubstr("target of sales@example.test"));
  EXPECT_EQ(Ok({"alias", "remove", "sales@example.test"}), "alias sales@example.test removed\n");
  EXPECT_EQ(Ok({"alias", "add", "@Example.test", "bob@example.test"}),
            "@example.test leads to bob@example.test\n");
  EXPECT_THAT(Fails(kRefused, {"alias", "add", "x@example.test", "@example.test"}),
              HasSubstr("\"@example.test\" is no mail address"));
  EXPECT_EQ(Ok({"alias", "remove", "@example.test"}), "alias @example.test removed\n");
}

TEST_F(PosternctlTest, AliasesHaveSenders) {
  Ok({"domain", "add", "example.test"});
  for (const char* name : {"alice@example.test", "bob@example.test"}) {
    Ok({"account", "add", name, "--password-stdin"}, "correct horse\n");
  }
  Ok({"alias", "add", "sales@example.test", "alice@example.test"});
  const std::string leads = "sales@example.test leads to alice@example.test";
  EXPECT_EQ(Ok({"alias", "set-senders", "sales@example.test", "bob@example.test"}),
            leads + "; sent as by bob@example.test\n");
  EXPECT_EQ(Ok({"alias", "set", "sales@example.test", "alice@example.test"}),
            leads + "; sent as by bob@example.test\n");
  EXPECT_EQ(Ok({"alias", "set-senders", "sales@example.test", "--nobody"}),
            leads + "; sent as by nobody\n");
  EXPECT_EQ(Ok({"alias", "set-senders", "sales@example.test", "--members"}), leads + "\n");
  EXPECT_THAT(Fails(kWrongUse, {"alias", "set-senders", "sales@example.test"}),
              HasSubstr("give an ACCOUNT, --members or --nobody"));
  EXPECT_THAT(Fails(kWrongUse, {"alias", "set-senders", "sales@example.test", "--members",
                                "bob@example.test"}),
              HasSubstr("--members"));
  EXPECT_THAT(Fails(kRefused, {"alias", "set-senders", "sales@example.test", "zoe@example.test"}),
              HasSubstr("zoe@example.test"));
  Ok({"alias", "set-senders", "sales@example.test", "bob@example.test"});
  Ok({"account", "remove", "bob@example.test"});
  EXPECT_THAT(Ok({"--json", "alias", "list"}),
              HasSubstr("\"senders_listed\": true, \"senders\": []"));
  Ok({"alias", "remove", "sales@example.test"});
}

TEST_F(PosternctlTest, AliasesForward) {
  Ok({"domain", "add", "example.test"});
  Ok({"account", "add", "alice@example.test", "--password-stdin"}, "correct horse\n");
  EXPECT_EQ(Ok({"alias", "add", "sales@example.test", "--forward", "Bob@elsewhere.test",
                "alice@example.test", "--forward", "amy@distant.test"}),
            "sales@example.test leads to alice@example.test, and on to Bob@elsewhere.test, "
            "amy@distant.test\n");
  EXPECT_EQ(Ok({"alias", "list"}),
            "ADDRESS             LEADS TO\n"
            "sales@example.test  alice@example.test, Bob@elsewhere.test, amy@distant.test\n");
  EXPECT_EQ(Ok({"alias", "set", "sales@example.test", "--forward", "Bob@elsewhere.test"}),
            "sales@example.test leads on to Bob@elsewhere.test\n");
  EXPECT_EQ(Ok({"--json", "alias", "list"}),
            "{\"aliases\": [{\"address\": \"sales@example.test\", \"targets\": [], "
            "\"forwards\": [\"Bob@elsewhere.test\"], \"senders_listed\": false, \"senders\": [], "
            "\"source\": \"\"}]}\n");
  EXPECT_THAT(RunWith(config_file_, {"auth", "test", "sales@example.test"}, "").out,
              HasSubstr("sales@example.test is an alias to Bob@elsewhere.test: nobody logs in"));
  EXPECT_THAT(Fails(kRefused, {"domain", "add", "elsewhere.test"}),
              HasSubstr("alias sales@example.test forwards into elsewhere.test"));
  EXPECT_THAT(Fails(kRefused, {"alias", "add", "x@example.test", "amy@distant.test"}),
              HasSubstr("distant.test is none of our domains; an alias leads elsewhere by a "
                        "forward (posternctl alias add --forward, account import "
                        "--forward-outside)"));
  EXPECT_THAT(
      Fails(kRefused, {"alias", "add", "x@example.test", "--forward", "alice@example.test"}),
      HasSubstr("forward alice@example.test is in a domain of this directory: give it as a "
                "target"));
  for (const char* command : {"add", "set"}) {
    EXPECT_EQ(Fails(kWrongUse, {"alias", command, "x@example.test"}),
              "posternctl: an alias leads somewhere: give a TARGET or --forward ADDRESS "
              "(posternctl --help explains)\n");
  }
}

TEST_F(PosternctlTest, AliasesOfAFileForward) {
  Ok({"domain", "add", "a.test"});
  Ok({"account", "add", "alice@a.test", "--password-stdin"}, "correct horse\n");
  const std::string text =
      "x@a.test alice@a.test, Zoe@Elsewhere.test\ny@a.test zoe@elsewhere.test\n"
      "z@a.test carol@B.test\nb@b.test alice@a.test\n";
  std::vector<std::string> import = {"account", "import", "-", "--format", "virtual"};
  const Result without = RunWith(config_file_, import, text);
  EXPECT_THAT(without.out,
              HasSubstr("1     x@a.test  refused: target zoe@elsewhere.test is not local"));
  EXPECT_THAT(without.out, HasSubstr("--forward-outside"));
  import.push_back("--forward-outside");
  for (const bool dry_run : {true, false}) {
    if (dry_run) import.push_back("--dry-run");
    const Result result = RunWith(config_file_, import, text);
    const std::string added = dry_run ? "would be added\n" : "added\n";
    EXPECT_THAT(result.out, HasSubstr("1     x@a.test  " + added));
    EXPECT_THAT(result.out, HasSubstr("2     y@a.test  " + added));
    // Of a domain that should be ours.
    EXPECT_THAT(result.out, HasSubstr("3     z@a.test  refused: target carol@b.test is not local"));
    EXPECT_THAT(result.out, HasSubstr("4     b@b.test  refused: there is no domain b.test"));
    if (dry_run) import.pop_back();
  }
  EXPECT_EQ(Ok({"alias", "list"}),
            "ADDRESS   LEADS TO\nx@a.test  alice@a.test, Zoe@elsewhere.test\n"
            "y@a.test  zoe@elsewhere.test\n");
}

TEST_F(PosternctlTest, FilesOfOtherSystemsAreImported) {
  Ok({"domain", "add", "a.test"});
  const std::string file = testing::TempDir() + "/people";
  std::ofstream(file) << "alice@a.test:{SSHA}DURtlrYNoqi6N86XLd9vAEUA2DwLSx6M\n"
                         "bob@b.test:{SSHA}DURtlrYNoqi6N86XLd9vAEUA2DwLSx6M\n"
                         "carol@a.test:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n";
  const std::vector<std::string> import = {"account", "import", file, "--format", "passwd-file"};
  auto with = [&](std::vector<std::string> arguments, const std::string& more) {
    arguments.push_back(more);
    return arguments;
  };
  auto run = [&](const std::vector<std::string>& arguments, const std::string& error,
                 const std::string& input = "") {
    const Result result = RunWith(config_file_, arguments, input);
    EXPECT_EQ(result.exit_code, kRefused);
    EXPECT_EQ(result.err, absl::StrCat("posternctl: ", error, "\n"));
    return result.out;
  };
  const std::string rest =
      "2     bob@b.test    refused: there is no domain b.test: add it first\n"
      "3     carol@a.test  refused: password hashes of scheme {SHA} are not taken (did you mean "
      "{SSHA}?)\n";
  EXPECT_THAT(run(with(import, "--dry-run"), "2 of 3 lines would be refused"),
              AllOf(HasSubstr("1     alice@a.test  would be added\n"), HasSubstr("\n2     bob")));
  EXPECT_EQ(Ok({"account", "list"}), "no accounts\n");
  EXPECT_THAT(run(import, "2 of 3 lines were refused"),
              HasSubstr("1     alice@a.test  added\n" + rest.substr(0, 40)));
  EXPECT_THAT(run(import, "2 of 3 lines were refused"),
              HasSubstr("1     alice@a.test  is there already\n"));
  EXPECT_THAT(Ok({"auth", "test", "alice@a.test", "--password-stdin"}, "correct horse\n"),
              HasSubstr("kept here, as SSHA\nthe password is right\n"));

  // What is there already stays, wherever the file's would lead.
  Ok({"alias", "add", "kept@a.test", "--forward", "zoe@far.test"});
  EXPECT_THAT(RunWith(config_file_, {"account", "import", "-", "--format", "virtual"},
                      "kept@a.test zoe@far.test\n")
                  .out,
              HasSubstr("is there already"));
  EXPECT_THAT(Ok({"alias", "list"}), HasSubstr("kept@a.test  zoe@far.test"));
  Ok({"alias", "remove", "kept@a.test"});

  // Aliases in any order; one that leads back leaves nothing behind.
  const std::vector<std::string> maps = {"--json", "account", "import", "-", "--format", "virtual"};
  const std::string text = "c.test yes\nx@c.test alice@a.test\nloop@c.test loop@c.test\n";
  for (const auto& [arguments, outcome] :
       {std::pair(with(maps, "--dry-run"), "would be added"), std::pair(maps, "added")}) {
    const std::string said = run(
        arguments,
        absl::StrCat("1 of 3 lines ", arguments == maps ? "were" : "would be", " refused"), text);
    EXPECT_THAT(said, HasSubstr(absl::StrCat("{\"line\": 1, \"name\": \"c.test\", \"outcome\": \"",
                                             outcome, "\"}")));
    EXPECT_THAT(said, HasSubstr("\"why\": \"the alias would lead back to itself"));
  }
  EXPECT_EQ(Ok({"alias", "list"}), "ADDRESS   LEADS TO\nx@c.test  alice@a.test\n");
  EXPECT_THAT(Fails(kWrongUse, {"account", "import", "/nonexistent", "--format", "csv"}),
              HasSubstr("/nonexistent: cannot be read"));
  EXPECT_THAT(Fails(kWrongUse, {"account", "import", file, "--format", "cvs"}), HasSubstr("cvs"));
}

// As many as are in several requests, and aliases among them.
TEST_F(PosternctlTest, LargeFilesAreTried) {
  std::string text = "address,password_hash,targets\n";
  for (int i = 0; i < 700; ++i) {
    absl::StrAppend(&text, "u", i, "@a.test,{SSHA}DURtlrYNoqi6N86XLd9vAEUA2DwLSx6M,\n", "a", i,
                    "@a.test,,u", i, "@a.test\n");
  }
  Ok({"domain", "add", "a.test"});
  const std::vector<std::string> import = {"account", "import", "-", "--format", "csv"};
  const std::vector<std::string> dry = {"account", "import", "-", "--format", "csv", "--dry-run"};
  const std::string tried = Ok(dry, text);
  EXPECT_THAT(tried, HasSubstr("a699@a.test  would be added"));
  EXPECT_EQ(std::count(tried.begin(), tried.end(), '\n'), 1401);
  EXPECT_EQ(Ok({"account", "list"}), "no accounts\n");
  EXPECT_THAT(Ok(import, text), HasSubstr("a699@a.test  added"));
}

TEST_F(PosternctlTest, TheShellCompletes) {
  const Result script = RunRaw({"completion"});
  EXPECT_EQ(script.exit_code, kDone);
  const std::string file = testing::TempDir() + "/completion.sh";
  const struct {
    std::string typed;
    std::string offered;
  } cases[] = {
      {"posternctl dom", "domain"},
      {"posternctl account se", "set-password"},
      {"posternctl --json account set-password --password-",
       "--password-stdin --password-hash-stdin"},
      {"posternctl queue show retry", ""},
      {"posternctl auth ", "test --help"},
  };
  for (const auto& c : cases) {
    // As bash has the words when Tab is pressed behind them.
    std::ofstream(file) << script.out << "IFS=' ' read -ra COMP_WORDS <<<'" << c.typed << "'\n"
                        << "[[ '" << c.typed << "' == *' ' ]] && COMP_WORDS+=('')\n"
                        << "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_posternctl\n"
                        << "echo \"${COMPREPLY[*]}\"\n";
    FILE* const run = popen(absl::StrCat("bash ", file).c_str(), "r");
    ASSERT_NE(run, nullptr);
    char said[1000] = "";
    EXPECT_NE(fgets(said, sizeof said, run), nullptr);
    EXPECT_EQ(pclose(run), 0);
    EXPECT_EQ(said, c.offered + "\n") << c.typed;
  }
}

TEST_F(PosternctlTest, ListsAreComplete) {
  for (int i = 0; i < 120; ++i) Ok({"domain", "add", absl::StrCat("d", i, ".test")});
  const std::string list = Ok({"domain", "list"});
  EXPECT_EQ(std::count(list.begin(), list.end(), '\n'), 121);
}

TEST_F(PosternctlTest, WrongCommandLines) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"domain"},
                                             {"domain", "add"},
                                             {"nonsense"},
                                             {"domain", "nonsense"},
                                             {"alias", "add", "a@example.test"},
                                             {"queue", "retry"},
                                             {"queue", "retry", "--json"},
                                             {"queue", "retry", "id", "--all"},
                                             {"domain", "list", "--nonsense"},
                                             {"mailbox", "purge"}}) {
    EXPECT_THAT(Fails(kWrongUse, arguments), HasSubstr("--help"))
        << testing::PrintToString(arguments);
  }
  // An unknown word is named, and the nearest one with it.
  EXPECT_THAT(Fails(kWrongUse, {"alias", "ad"}),
              HasSubstr("there is no command \"ad\" of \"alias\"; did you mean \"add\"?"));
  EXPECT_THAT(Fails(kWrongUse, {"acount", "list"}),
              HasSubstr("there is no command \"acount\"; did you mean \"account\"?"));
  EXPECT_THAT(Fails(kWrongUse, {"domain", "nonsense"}),
              HasSubstr("there is no command \"nonsense\" of \"domain\" ("));
  EXPECT_EQ(RunRaw({"domain", "list"}).exit_code, kWrongUse);
  EXPECT_THAT(RunRaw({"domain", "list"}).err, HasSubstr("POSTERNCTL_CONFIG"));
  EXPECT_EQ(RunWith("/nonexistent.yaml", {"domain", "list"}).exit_code, kWrongUse);
}

TEST_F(PosternctlTest, ConfigurationFromTheEnvironment) {
  setenv("POSTERNCTL_CONFIG", config_file_.c_str(), 1);
  EXPECT_EQ(RunRaw({"domain", "list"}).out, "no domains\n");
  unsetenv("POSTERNCTL_CONFIG");
}

TEST_F(PosternctlTest, HelpExplains) {
  Result help = RunRaw({"--help"});
  EXPECT_EQ(help.exit_code, kDone);
  for (const char* word : {"domain", "account", "alias", "mailbox", "queue", "Exit codes",
                           "POSTERNCTL_CONFIG", "--json"}) {
    EXPECT_THAT(help.out, HasSubstr(word));
  }
  EXPECT_THAT(RunRaw({"account", "add", "--help"}).out, HasSubstr("--password-stdin"));
}

TEST_F(PosternctlTest, SaysWhoDoesNotAnswerAndWhatToLookAt) {
  EXPECT_THAT(Fails(kRefused, {"queue", "list"}),
              testing::AllOf(HasSubstr("relay-svc at 127.0.0.1:1"), HasSubstr("relay_svc.target"),
                             HasSubstr(config_file_)));
  const std::string other = service_.folder() + "/other.yaml";
  WriteConfig(other, identity::kGatewayPop3, service_.port());
  Result result = RunWith(other, {"domain", "list"});
  EXPECT_EQ(result.exit_code, kRefused);
  EXPECT_THAT(result.err, HasSubstr("must have the identity posternctl"));
}

}  // namespace
}  // namespace postern::ctl
