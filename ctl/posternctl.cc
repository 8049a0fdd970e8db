#include "ctl/posternctl.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "ctl/completion.h"
#include "ctl/directory_commands.h"
#include "ctl/import_file.h"
#include "ctl/mailbox_commands.h"
#include "ctl/output.h"
#include "ctl/password_input.h"
#include "ctl/queue_commands.h"
#include "ctl/remote.h"
#include "proto/postern/config/v1/posternctl.pb.h"
#include "services/config/config.h"
#include "services/identity/access.h"
#include "services/process/stop_signals.h"
#include "services/process/version.h"
#include "services/text/nearest.h"
#include "services/text/utf8.h"

namespace postern::ctl {
namespace {

constexpr char kFooter[] = R"(
Exit codes: 0 done; 1 a service refused or did not answer; 2 wrong command line, input or
configuration. Errors are one line on standard error; results go to standard output, with --json
as one JSON object: {"domains": [...]}, {"accounts": [...]}, {"aliases": [...]},
{"mailboxes": [...]}, {"entries": [...]}, {"app_passwords": [...]} for lists, the thing itself for
everything else.

Examples:
  posternctl domain add example.test
  posternctl account add alice@example.test
  posternctl alias add sales@example.test alice@example.test --forward bob@elsewhere.test
  posternctl --json queue list)";

// The clients of one run, made from the configuration.
struct Commands {
  Commands(const config::v1::Posternctl& config, const std::string& file, Output& output)
      : directory({identity::kAuthSvc, "auth_svc", config.auth_svc(), config.mtls(), file}, output),
        mailbox({identity::kStoreSvc, "store_svc", config.store_svc(), config.mtls(), file},
                directory, output),
        queue({identity::kRelaySvc, "relay_svc", config.relay_svc(), config.mtls(), file}, output) {
  }

  DirectoryCommands directory;
  MailboxCommands mailbox;
  QueueCommands queue;
};

class NoSuchCommand : public CLI::ParseError {
 public:
  explicit NoSuchCommand(std::string words)
      : CLI::ParseError("NoSuchCommand", std::move(words), kWrongUse) {}
};

// A file of other systems' people: a few hundred octets each.
constexpr size_t kMaxImportOctets = 512 << 20;

absl::StatusOr<std::string> ReadAll(const std::string& file, std::istream& standard_input) {
  std::ifstream opened;
  if (file != "-") {
    opened.open(file, std::ios::binary);
    if (!opened) return absl::InvalidArgumentError(absl::StrCat(file, ": cannot be read"));
  }
  std::istream& in = file == "-" ? standard_input : opened;
  std::string text;
  char piece[1 << 16];
  while (in.read(piece, sizeof piece), in.gcount() > 0) {
    text.append(piece, static_cast<size_t>(in.gcount()));
    if (text.size() > kMaxImportOctets) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ": has more than ", kMaxImportOctets, " octets: split it"));
    }
  }
  if (in.bad()) return absl::InvalidArgumentError(absl::StrCat(file, ": cannot be read"));
  if (!text::IsUtf8(text)) return absl::InvalidArgumentError(absl::StrCat(file, ": is not UTF-8"));
  return text;
}

// The command line: every command sets `command`, which runs when all of it was read.
class CommandLine {
 public:
  explicit CommandLine(std::istream& in)
      : in_(in), app_("Postern's directory, mailboxes and queue.", "posternctl") {
    app_.footer(kFooter);
    app_.require_subcommand(1);
    app_.add_option("--config", config_file_, "The configuration (YAML).")
        ->envname("POSTERNCTL_CONFIG")
        ->type_name("FILE");
    app_.add_flag("--json", json_, "Print JSON for scripts.");
    app_.set_version_flag("--version", absl::StrCat("posternctl ", process::kVersion));
    app_.add_subcommand("idle",
                        "Does nothing until SIGTERM: for a container in which the others are run.")
        ->callback([this] { idle_ = true; });
    app_.add_subcommand("completion",
                        "Prints a script for bash, and for zsh after bashcompinit: "
                        "source <(posternctl completion)")
        ->callback([this] { completion_ = true; });
    AddDomainCommands();
    AddAccountCommands();
    AddAppPasswordCommands();
    AddAuthCommands();
    AddAliasCommands();
    AddMailboxCommands();
    AddQueueCommands();
  }

  // Throws CLI::ParseError.
  void Parse(std::vector<std::string> arguments) {
    CheckCommandWords(arguments);
    std::reverse(arguments.begin(), arguments.end());
    app_.parse(std::move(arguments));
  }

  int Exit(const CLI::ParseError& error, std::ostream& out, std::ostream& err) {
    if (error.get_exit_code() == 0) return app_.exit(error, out, err);
    err << "posternctl: " << error.what() << " (posternctl --help explains)\n";
    return kWrongUse;
  }

  // Asks the user for what doesn't belong on a command line.
  absl::Status ReadInput() {
    switch (input_) {
      case Input::kNone:
        return absl::OkStatus();
      case Input::kPasswordIfGiven:
        if (!password_stdin_) return absl::OkStatus();
        [[fallthrough]];
      case Input::kPassword: {
        absl::StatusOr<std::string> password =
            password_stdin_ || password_.is_hash ? ReadPasswordLine(in_) : AskPassword(subject_);
        if (!password.ok()) return password.status();
        // RFC 4616 2: so is what mail clients send.
        if (!text::IsUtf8(*password)) {
          return absl::InvalidArgumentError("the password is not UTF-8");
        }
        // Which would be a password of no octets.
        if (password_.is_hash && password->empty()) {
          return absl::InvalidArgumentError("the password hash is empty");
        }
        password_.text = *std::move(password);
        return absl::OkStatus();
      }
      case Input::kImport: {
        absl::StatusOr<std::string> text = ReadAll(subject_, in_);
        if (!text.ok()) return text.status();
        absl::StatusOr<std::vector<ImportLine>> lines = ReadImport(format_, *text, domain_);
        if (!lines.ok()) {
          return absl::InvalidArgumentError(absl::StrCat(subject_, ": ", lines.status().message()));
        }
        lines_ = *std::move(lines);
        return absl::OkStatus();
      }
      case Input::kConfirmation: {
        if (yes_ || isatty(STDIN_FILENO) == 0) return absl::OkStatus();
        absl::StatusOr<bool> sure =
            Confirm(absl::StrCat("Remove every message of mailbox ", subject_, " for ever?"));
        if (!sure.ok()) return sure.status();
        return *sure ? absl::OkStatus() : absl::CancelledError("nothing was removed");
      }
    }
    return absl::InternalError("no such input");
  }

  absl::Status Run(Commands& commands) { return command_(commands); }

  // The command is "idle".
  bool idle() const { return idle_; }
  // The command is "completion".
  bool completion() const { return completion_; }
  std::string Completion() const { return CompletionScript(app_); }
  const std::string& config_file() const { return config_file_; }
  bool json() const { return json_; }

 private:
  // Names the first word that is no command where one must stand, and the nearest that is: CLI11
  // itself would only say that a command is missing.
  void CheckCommandWords(const std::vector<std::string>& arguments) {
    const CLI::App* app = &app_;
    for (size_t i = 0; i < arguments.size() && !WordsOf(*app).empty(); ++i) {
      const std::string& word = arguments[i];
      if (word == "--config") ++i;
      if (word.empty() || word[0] == '-') continue;
      const std::vector<std::string> commands = WordsOf(*app);
      if (std::find(commands.begin(), commands.end(), word) == commands.end()) {
        const std::string nearest = text::Nearest(word, commands);
        throw NoSuchCommand(
            absl::StrCat("there is no command \"", word, "\"",
                         app == &app_ ? "" : absl::StrCat(" of \"", app->get_name(), "\""),
                         nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?")));
      }
      app = app->get_subcommand(word);
    }
  }

  using Command = std::function<absl::Status(Commands&)>;
  enum class Input { kNone, kPassword, kPasswordIfGiven, kImport, kConfirmation };

  CLI::App* AddGroup(const char* name, const char* description) {
    CLI::App* group = app_.add_subcommand(name, description);
    group->require_subcommand(1);
    group->fallthrough();
    return group;
  }

  CLI::App* AddCommand(CLI::App* group, const char* name, const char* description, Command command,
                       Input input = Input::kNone) {
    CLI::App* app = group->add_subcommand(name, description);
    app->fallthrough();
    app->callback([this, input, command = std::move(command)] {
      command_ = command;
      input_ = input;
    });
    return app;
  }

  void NeedsSubject(CLI::App* app, const char* name, const char* description) {
    app->add_option(name, subject_, description)->required()->type_name("");
  }

  void TakesDomain(CLI::App* app) {
    app->add_option("--domain,DOMAIN", domain_, "Only this domain's.")->type_name("NAME");
  }

  void TakesPassword(CLI::App* app) {
    CLI::Option* text =
        app->add_flag("--password-stdin", password_stdin_,
                      "Read the password as one line from standard input instead of asking on the "
                      "terminal.");
    app->add_flag("--password-hash-stdin", password_.is_hash,
                  "Read a hash that another system made, {SCHEME} and all, as that line.")
        ->excludes(text);
  }

  void AddDomainCommands() {
    CLI::App* group = AddGroup("domain", "Domains that mail is taken for.");
    NeedsSubject(AddCommand(group, "add", "Adds a domain.",
                            [this](Commands& c) { return c.directory.AddDomain(subject_); }),
                 "NAME", "The domain; U-labels or A-labels.");
    AddCommand(group, "list", "Lists the domains.",
               [](Commands& c) { return c.directory.ListDomains(); });
    NeedsSubject(AddCommand(group, "remove", "Removes a domain without accounts and aliases.",
                            [this](Commands& c) { return c.directory.RemoveDomain(subject_); }),
                 "NAME", "The domain.");
    NeedsSubject(
        AddCommand(group, "enable", "Takes mail and logins for a domain again.",
                   [this](Commands& c) { return c.directory.SetDomainEnabled(subject_, true); }),
        "NAME", "The domain.");
    NeedsSubject(
        AddCommand(group, "disable", "Refuses mail and logins for a domain; nothing is removed.",
                   [this](Commands& c) { return c.directory.SetDomainEnabled(subject_, false); }),
        "NAME", "The domain.");
    CLI::App* policy = AddCommand(
        group, "set-login-policy", "Says how a domain's people log in.", [this](Commands& c) {
          return c.directory.SetLoginPolicy(subject_, policy_ == "no-passwords");
        });
    NeedsSubject(policy, "NAME", "The domain.");
    policy
        ->add_option("POLICY", policy_,
                     "any; or no-passwords: with application passwords, or as an identity provider "
                     "says.")
        ->required()
        ->check(CLI::IsMember({"any", "no-passwords"}))
        ->type_name("");
  }

  void AddAppPasswordCommands() {
    CLI::App* group = AddGroup("app-password", "Passwords for one program of a person's each.");
    CLI::App* add =
        AddCommand(group, "add", "Makes one, and shows it this once.", [this](Commands& c) {
          return c.directory.AddAppPassword(subject_, app_password_, use_ != "submission",
                                            use_ != "pop3");
        });
    CLI::App* list =
        AddCommand(group, "list", "Lists an account's, with their last use.",
                   [this](Commands& c) { return c.directory.ListAppPasswords(subject_); });
    CLI::App* remove = AddCommand(
        group, "remove", "Removes one: it logs nobody in any more.",
        [this](Commands& c) { return c.directory.RemoveAppPassword(subject_, app_password_); });
    for (CLI::App* app : {add, list, remove}) NeedsSubject(app, "ADDRESS", "The account.");
    for (CLI::App* app : {add, remove}) {
      app->add_option("NAME", app_password_, "What it is called, once in an account: \"phone\".")
          ->required()
          ->type_name("");
    }
    add->add_option("--for", use_, "pop3 or submission alone.")
        ->check(CLI::IsMember({"pop3", "submission"}))
        ->type_name("USE");
  }

  void AddAccountCommands() {
    CLI::App* group = AddGroup("account", "People who log in, each with a mailbox.");
    CLI::App* add = AddCommand(
        group, "add", "Adds an account; asks for its password.",
        [this](Commands& c) { return c.directory.AddAccount(subject_, password_); },
        Input::kPassword);
    NeedsSubject(add, "ADDRESS", "local-part@domain.");
    TakesPassword(add);
    CLI::App* import = AddCommand(
        group, "import", "Adds the people, and aliases, of another system's file.",
        [this](Commands& c) {
          return c.directory.Import(std::move(lines_), dry_run_, forward_outside_);
        },
        Input::kImport);
    NeedsSubject(import, "FILE", "The file; - is standard input.");
    import->add_option("--format", format_, "What the file is: Dovecot's, Postfix's, or a table.")
        ->required()
        ->check(CLI::IsMember({"passwd-file", "virtual", "csv"}))
        ->type_name("FORMAT");
    import->add_option("--domain", domain_, "Of names without one.")->type_name("NAME");
    import->add_flag("--dry-run", dry_run_, "Only say what each line would do.");
    import->add_flag("--forward-outside", forward_outside_,
                     "Let aliases forward mail to targets in domains that are neither here nor in "
                     "the file.");
    TakesDomain(AddCommand(group, "list", "Lists the accounts.",
                           [this](Commands& c) { return c.directory.ListAccounts(domain_); }));
    NeedsSubject(
        AddCommand(group, "remove", "Removes an account. Its mail is kept until mailbox purge.",
                   [this](Commands& c) { return c.directory.RemoveAccount(subject_); }),
        "ADDRESS", "The account.");
    CLI::App* set = AddCommand(
        group, "set-password", "Sets a new password; asks for it.",
        [this](Commands& c) { return c.directory.SetPassword(subject_, password_); },
        Input::kPassword);
    NeedsSubject(set, "ADDRESS", "The account.");
    TakesPassword(set);
    NeedsSubject(
        AddCommand(group, "enable", "Lets an account log in and get mail again.",
                   [this](Commands& c) { return c.directory.SetAccountEnabled(subject_, true); }),
        "ADDRESS", "The account.");
    NeedsSubject(
        AddCommand(group, "disable", "Refuses an account's logins and mail; nothing is removed.",
                   [this](Commands& c) { return c.directory.SetAccountEnabled(subject_, false); }),
        "ADDRESS", "The account.");
  }

  // Dovecot's "doveadm auth test".
  void AddAuthCommands() {
    CLI::App* group = AddGroup("auth", "Logins.");
    CLI::App* test = AddCommand(
        group, "test", "Says step by step what happens to a login, or where its account is.",
        [this](Commands& c) {
          return c.directory.TestLogin(
              subject_, password_stdin_ ? std::optional(password_.text) : std::nullopt);
        },
        Input::kPasswordIfGiven);
    NeedsSubject(test, "ADDRESS", "Who logs in.");
    test->add_flag("--password-stdin", password_stdin_,
                   "Try the password that is one line of standard input.");
  }

  void AddAliasCommands() {
    CLI::App* group =
        AddGroup("alias", "Addresses that lead to accounts, other aliases or addresses elsewhere.");
    CLI::App* add = AddCommand(group, "add", "Adds an alias.", [this](Commands& c) {
      return c.directory.AddAlias(subject_, targets_, forwards_);
    });
    CLI::App* set = AddCommand(
        group, "set", "Replaces an alias's targets and forwards.",
        [this](Commands& c) { return c.directory.SetAlias(subject_, targets_, forwards_); });
    for (CLI::App* app : {add, set}) {
      NeedsSubject(app, "ADDRESS", "The alias; @domain has what nothing else in the domain has.");
      app->add_option("TARGET", targets_, "Local addresses: accounts or aliases.")->type_name("");
      app->add_option("--forward", forwards_,
                      "An address elsewhere, to which mail goes on. Once for each.")
          ->allow_extra_args(false)
          ->type_name("ADDRESS");
      app->parse_complete_callback([this] {
        if (!targets_.empty() || !forwards_.empty()) return;
        throw CLI::RequiredError("an alias leads somewhere: give a TARGET or --forward ADDRESS",
                                 CLI::ExitCodes::RequiredError);
      });
    }
    CLI::App* senders = AddCommand(
        group, "set-senders", "Says who may send as an alias.",
        [this](Commands& c) { return c.directory.SetAliasSenders(subject_, members_, targets_); });
    NeedsSubject(senders, "ADDRESS", "The alias.");
    CLI::Option* accounts =
        senders->add_option("ACCOUNT", targets_, "These accounts alone.")->type_name("");
    CLI::Option* members =
        senders->add_flag("--members", members_, "Whoever it leads to, as at first.");
    CLI::Option* nobody = senders->add_flag("--nobody", nobody_, "Nobody.");
    members->excludes(accounts)->excludes(nobody);
    nobody->excludes(accounts);
    senders->parse_complete_callback([this] {
      if (members_ || nobody_ || !targets_.empty()) return;
      throw CLI::RequiredError("who may send as it: give an ACCOUNT, --members or --nobody",
                               CLI::ExitCodes::RequiredError);
    });
    TakesDomain(AddCommand(group, "list", "Lists the aliases.",
                           [this](Commands& c) { return c.directory.ListAliases(domain_); }));
    NeedsSubject(AddCommand(group, "remove", "Removes an alias.",
                            [this](Commands& c) { return c.directory.RemoveAlias(subject_); }),
                 "ADDRESS", "The alias.");
  }

  void AddMailboxCommands() {
    CLI::App* group = AddGroup("mailbox", "Where mail lives.");
    AddCommand(group, "list", "Lists the mailboxes that hold or held mail.",
               [](Commands& c) { return c.mailbox.List(); });
    NeedsSubject(AddCommand(group, "usage", "Shows what a mailbox holds and may hold.",
                            [this](Commands& c) { return c.mailbox.Usage(subject_); }),
                 "MAILBOX", "An account's address, or a mailbox id.");
    CLI::App* quota = AddCommand(
        group, "set-quota", "Says what a mailbox may hold, instead of what every one may.",
        [this](Commands& c) {
          return c.mailbox.SetQuota(subject_, quota_octets_, quota_messages_);
        });
    NeedsSubject(quota, "MAILBOX", "An account's address, or a mailbox id.");
    CLI::Option* size = quota->add_option("SIZE", quota_octets_, "1MiB to 1048576GiB: 5GiB.")
                            ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true).description(""))
                            ->check(CLI::Range(int64_t{1} << 20, int64_t{1} << 50).description(""))
                            ->type_name("");
    CLI::Option* messages = quota->add_option("--messages", quota_messages_, "So many.")
                                ->check(CLI::Range(1, 10'000'000))
                                ->type_name("N");
    quota->add_flag("--default", default_quota_, "What every mailbox may hold, again.")
        ->excludes(size)
        ->excludes(messages);
    quota->parse_complete_callback([this] {
      if (default_quota_) quota_octets_ = quota_messages_ = 0;
      if (quota_octets_.has_value() || quota_messages_.has_value()) return;
      throw CLI::RequiredError("how much it may hold: give a SIZE, --messages N or --default",
                               CLI::ExitCodes::RequiredError);
    });
    CLI::App* purge = AddCommand(
        group, "purge", "Removes every message of a mailbox, for ever.",
        [this](Commands& c) { return c.mailbox.Purge(subject_); }, Input::kConfirmation);
    NeedsSubject(purge, "MAILBOX", "An account's address, or a mailbox id.");
    purge->add_flag("--yes", yes_, "Don't ask. (Nothing is asked without a terminal either.)");
  }

  void AddQueueCommands() {
    CLI::App* group = AddGroup("queue", "Messages that wait to be delivered.");
    AddCommand(group, "list", "Lists the messages.", [](Commands& c) { return c.queue.List(); });
    struct {
      const char* name;
      const char* description;
      absl::Status (QueueCommands::*run)(const std::string&);
    } const kCommands[] = {
        {"show", "Shows a message's recipients and their last results.", &QueueCommands::Show},
        {"hold", "Keeps a message from being tried until it is released.", &QueueCommands::Hold},
        {"release", "Lets a held message be tried again.", &QueueCommands::Release},
        {"delete", "Drops a message; its sender gets no notice.", &QueueCommands::Delete},
    };
    for (const auto& command : kCommands) {
      NeedsSubject(
          AddCommand(group, command.name, command.description,
                     [this, run = command.run](Commands& c) { return (c.queue.*run)(subject_); }),
          "ID", "The message's queue id.");
    }
    CLI::App* retry =
        AddCommand(group, "retry", "Tries a message's waiting recipients now.",
                   [this](Commands& c) { return c.queue.Retry(all_ ? "" : subject_); });
    CLI::Option_group* which = retry->add_option_group("which");
    which->require_option(1);
    which->add_option("ID", subject_, "The message's queue id.")->type_name("");
    which->add_flag("--all", all_, "Every message.");
  }

  std::istream& in_;
  CLI::App app_;
  std::string config_file_;
  bool json_ = false;
  bool idle_ = false;
  bool completion_ = false;
  std::string subject_;
  std::string policy_;
  std::string app_password_;
  std::string use_;
  std::vector<std::string> targets_;
  std::vector<std::string> forwards_;
  bool members_ = false;
  bool nobody_ = false;
  std::optional<uint64_t> quota_octets_;
  std::optional<uint64_t> quota_messages_;
  bool default_quota_ = false;
  std::string domain_;
  bool password_stdin_ = false;
  bool yes_ = false;
  bool all_ = false;
  NewPassword password_;
  std::string format_;
  bool dry_run_ = false;
  bool forward_outside_ = false;
  std::vector<ImportLine> lines_;
  Command command_;
  Input input_ = Input::kNone;
};

// As the first process of a container it gets no signal that it doesn't ask for.
int Idle() {
  process::StopSignals().Wait();
  return kDone;
}

int Report(std::ostream& err, const absl::Status& status, int exit_code) {
  err << "posternctl: " << Printable(std::string(status.message())) << "\n";
  return exit_code;
}

}  // namespace

int Run(std::vector<std::string> arguments, std::istream& in, std::ostream& out,
        std::ostream& err) {
  for (const std::string& argument : arguments) {
    if (text::IsUtf8(argument)) continue;
    return Report(err, absl::InvalidArgumentError("an argument is not UTF-8"), kWrongUse);
  }
  CommandLine line(in);
  try {
    line.Parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    return line.Exit(error, out, err);
  }
  if (line.idle()) return Idle();
  if (line.completion()) {
    out << line.Completion();
    return kDone;
  }
  if (line.config_file().empty()) {
    return Report(
        err,
        absl::InvalidArgumentError("no configuration: give --config FILE or set POSTERNCTL_CONFIG"),
        kWrongUse);
  }
  config::v1::Posternctl config;
  if (absl::Status loaded = config::LoadConfig(line.config_file(), &config); !loaded.ok()) {
    return Report(err, loaded, kWrongUse);
  }
  if (absl::Status given = line.ReadInput(); !given.ok()) return Report(err, given, kWrongUse);
  Output output(out, line.json());
  Commands commands(config, line.config_file(), output);
  if (absl::Status done = line.Run(commands); !done.ok()) return Report(err, done, kRefused);
  out.flush();
  if (!out) return Report(err, absl::DataLossError("cannot write to standard output"), kRefused);
  return kDone;
}

}  // namespace postern::ctl
