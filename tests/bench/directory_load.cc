// The load generator of `./dev bench directory`: calls auth-svc as its callers do, with their
// certificates. Account number I is user<I> in a domain that follows from I: half of all are in the
// first one, the others spread over the rest.
//
//   directory_load fill --first I --accounts N    imports N accounts from number I on
//   directory_load add --first I --accounts N     adds them one by one
//   directory_load find --accounts N [--unknown]  resolves random ones of the first N, or none
//   directory_load find --users FILE              resolves those of the file
//   directory_load postmaster                     resolves postmaster@ each domain
//   directory_load send-as --accounts N           asks whether random ones may send as themselves
//   directory_load list [--domain NAME]           lists all by pages of 1000
//   directory_load login --users FILE             logs in, PLAIN, as gateway-pop3
//
// FILE has lines of "address password". Prints one JSON object; exit code 1 when an answer was not
// the right one.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "proto/postern/auth/v1/directory_admin.grpc.pb.h"
#include "proto/postern/config/v1/process.pb.h"
#include "services/clients/auth_client.h"
#include "services/identity/access.h"
#include "services/rpc/call_context.h"
#include "services/rpc/channel.h"
#include "services/rpc/context.h"

namespace postern {
namespace {

using auth::v1::AuthenticateRequest;
using auth::v1::AuthenticateResponse;
using auth::v1::DirectoryAdminService;
using auth::v1::ResolveRecipientResponse;

constexpr int kPageSize = 1000;
// What Import takes at most.
constexpr int64_t kBatch = 1000;
// Of whom `send-as` has to know the ids first.
constexpr int kSenders = 1000;
// argon2id of "password", as posternctl would make it. Nobody logs in with it.
constexpr char kHash[] =
    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$"
    "wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";

struct Options {
  std::string target;
  std::string certificates;
  int64_t first = 0;
  int64_t accounts = 0;
  int domains = 10;
  int64_t calls = 10000;
  int parallel = 16;
  bool unknown = false;
  std::string domain;
  std::string users_file;
};

struct User {
  std::string address;
  std::string password;
};

std::vector<User> ReadUsers(const std::string& file) {
  std::ifstream in(file);
  std::vector<User> users;
  for (User user; in >> user.address >> user.password;) users.push_back(user);
  return users;
}

std::string DomainName(int number) { return absl::StrCat("d", number, ".bench.test"); }

std::string AddressOf(int64_t account, int domains) {
  const int64_t domain = account % 2 == 0 ? 0 : 1 + account / 2 % (domains - 1);
  return absl::StrCat("user", account, "@", DomainName(static_cast<int>(domain)));
}

rpc::CallContext NewCall() {
  rpc::CallContext call;
  call.trace = rpc::TraceContext::New();
  call.deadline = absl::Now() + absl::Seconds(60);
  return call;
}

std::shared_ptr<grpc::Channel> Connect(const Options& options, absl::string_view caller) {
  config::v1::RpcTarget target;
  target.set_target(options.target);
  config::v1::MutualTls tls;
  tls.set_certificate_file(absl::StrCat(options.certificates, "/", caller, ".crt"));
  tls.set_private_key_file(absl::StrCat(options.certificates, "/", caller, ".key"));
  tls.set_ca_file(absl::StrCat(options.certificates, "/ca.crt"));
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel =
      rpc::ConnectTo(target, tls, identity::kAuthSvc);
  if (!channel.ok()) throw std::runtime_error(channel.status().ToString());
  // Its handshake is none of the calls' time.
  if (!(*channel)->WaitForConnected(absl::ToChronoTime(absl::Now() + absl::Seconds(10)))) {
    throw std::runtime_error(absl::StrCat("cannot connect to ", options.target));
  }
  return *std::move(channel);
}

// Counts and times calls. Thread-safe.
class Tally {
 public:
  void Took(absl::Duration time, const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    times_.push_back(absl::ToDoubleMilliseconds(time));
    if (status.ok()) return;
    ++failures_;
    if (failures_ <= 3) std::cerr << status << "\n";
  }

  // `items`: what `per_second` counts; -1: calls. Prints the report and gives the exit code.
  int Report(absl::Duration whole, int64_t items = -1) {
    absl::MutexLock lock(&mutex_);
    const size_t calls = times_.size();
    // Of pages, the first and the last ones.
    const size_t part = std::max<size_t>(1, calls / 10);
    const double first = Median({times_.begin(), times_.begin() + part});
    const double last = Median({times_.end() - part, times_.end()});
    std::sort(times_.begin(), times_.end());
    std::cout
        << absl::StrFormat(
               R"({"calls": %d, "per_second": %.1f, "seconds": %.3f, "p50_ms": %.3f, "p99_ms": %.3f, )"
               R"("first_ms": %.3f, "last_ms": %.3f, "failures": %d})",
               calls, static_cast<double>(items < 0 ? calls : items) / absl::ToDoubleSeconds(whole),
               absl::ToDoubleSeconds(whole), times_[calls / 2], times_[calls * 99 / 100], first,
               last, failures_)
        << std::endl;
    return failures_ == 0 ? 0 : 1;
  }

 private:
  static double Median(std::vector<double> times) {
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2];
  }

  absl::Mutex mutex_;
  std::vector<double> times_ ABSL_GUARDED_BY(mutex_);
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;
};

using Ended = std::function<void(absl::Status)>;

// `begin` starts call number N and has `Ended` run once, on any thread. As many of them at a time
// as `parallel` says.
int RunCalls(const Options& options, const std::function<void(int64_t, Ended)>& begin) {
  Tally tally;
  std::atomic<int64_t> next = 0;
  absl::Mutex mutex;
  int lanes = options.parallel;
  std::function<void()> go_on = [&] {
    const int64_t number = next++;
    if (number >= options.calls) {
      absl::MutexLock lock(&mutex);
      --lanes;
      return;
    }
    const absl::Time began = absl::Now();
    begin(number, [&, began](const absl::Status& status) {
      tally.Took(absl::Now() - began, status);
      go_on();
    });
  };
  const absl::Time began = absl::Now();
  for (int i = 0; i < options.parallel; ++i) go_on();
  {
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(
        +[](int* left) { return *left == 0; }, &lanes));
  }
  return tally.Report(absl::Now() - began);
}

// One call of posternctl's.
template <typename Request, typename Response>
absl::Status Call(DirectoryAdminService::Stub& stub,
                  grpc::Status (DirectoryAdminService::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  rpc::WriteCallContext(NewCall(), &context);
  return rpc::FromGrpc((stub.*method)(&context, request, response));
}

int Fill(const Options& options) {
  const auto stub = DirectoryAdminService::NewStub(Connect(options, identity::kPosternctl));
  auth::v1::ImportRequest domains;
  for (int i = 0; i < options.domains; ++i) domains.add_entries()->set_domain(DomainName(i));
  auth::v1::ImportResponse answer;
  const absl::Status added = Call(*stub, &DirectoryAdminService::Stub::Import, domains, &answer);
  if (!added.ok()) throw std::runtime_error(added.ToString());
  Tally tally;
  const absl::Time began = absl::Now();
  const int64_t end = options.first + options.accounts;
  for (int64_t at = options.first; at < end; at += kBatch) {
    auth::v1::ImportRequest request;
    for (int64_t i = at; i < std::min(at + kBatch, end); ++i) {
      auth::v1::ImportRequest::ImportAccount& account = *request.add_entries()->mutable_account();
      account.set_address(AddressOf(i, options.domains));
      account.set_password_hash(kHash);
    }
    answer.Clear();
    const absl::Time sent = absl::Now();
    absl::Status status = Call(*stub, &DirectoryAdminService::Stub::Import, request, &answer);
    for (const auto& result : answer.results()) {
      if (result.outcome() != auth::v1::ImportResponse::OUTCOME_ADDED) {
        status = absl::UnknownError(absl::StrCat("not added: ", result.why()));
      }
    }
    tally.Took(absl::Now() - sent, status);
  }
  return tally.Report(absl::Now() - began, options.accounts);
}

int Add(Options options) {
  const auto stub = DirectoryAdminService::NewStub(Connect(options, identity::kPosternctl));
  options.calls = options.accounts;
  struct Adding {
    grpc::ClientContext context;
    auth::v1::AddAccountRequest request;
    auth::v1::AddAccountResponse response;
  };
  return RunCalls(options, [&](int64_t number, Ended ended) {
    auto adding = std::make_shared<Adding>();
    rpc::WriteCallContext(NewCall(), &adding->context);
    adding->request.set_request_id(rpc::TraceContext::New().trace_id);
    adding->request.set_address(AddressOf(options.first + number, options.domains));
    adding->request.set_password_hash(kHash);
    stub->async()->AddAccount(&adding->context, &adding->request, &adding->response,
                              [adding, ended = std::move(ended)](const grpc::Status& status) {
                                ended(rpc::FromGrpc(status));
                              });
  });
}

// Resolves address(N) at call N, and has to get `outcome`.
int Resolve(const Options& options, const std::function<std::string(int64_t)>& address,
            ResolveRecipientResponse::Outcome outcome) {
  const auto client = clients::MakeDirectoryClient(Connect(options, identity::kRelaySvc));
  return RunCalls(options, [&](int64_t number, Ended ended) {
    auth::v1::ResolveRecipientRequest request;
    request.set_address(address(number));
    client->ResolveRecipient(
        NewCall(), std::move(request),
        [outcome, ended = std::move(ended)](absl::StatusOr<ResolveRecipientResponse> answer) {
          if (answer.ok() && answer->outcome() != outcome) {
            ended(absl::UnknownError(absl::StrCat("outcome ", answer->outcome())));
          } else {
            ended(answer.status());
          }
        });
  });
}

int64_t Random(int64_t below) {
  thread_local absl::InsecureBitGen random;
  return absl::Uniform<int64_t>(random, 0, below);
}

int Find(const Options& options) {
  if (!options.users_file.empty()) {
    const std::vector<User> users = ReadUsers(options.users_file);
    return Resolve(
        options, [&](int64_t number) { return users[number % users.size()].address; },
        ResolveRecipientResponse::OUTCOME_LOCAL);
  }
  return Resolve(
      options,
      [&](int64_t) {
        const std::string address = AddressOf(Random(options.accounts), options.domains);
        return options.unknown ? absl::StrCat("no-", address) : address;
      },
      options.unknown ? ResolveRecipientResponse::OUTCOME_UNKNOWN
                      : ResolveRecipientResponse::OUTCOME_LOCAL);
}

int Postmaster(const Options& options) {
  return Resolve(
      options,
      [&](int64_t number) {
        return absl::StrCat("postmaster@", DomainName(static_cast<int>(number % options.domains)));
      },
      ResolveRecipientResponse::OUTCOME_LOCAL);
}

int SendAs(const Options& options) {
  const auto stub = DirectoryAdminService::NewStub(Connect(options, identity::kPosternctl));
  std::vector<auth::v1::Account> senders;
  for (int i = 0; i < kSenders; ++i) {
    auth::v1::ListAccountsRequest request;
    request.set_address(AddressOf(Random(options.accounts), options.domains));
    auth::v1::ListAccountsResponse response;
    const absl::Status status =
        Call(*stub, &DirectoryAdminService::Stub::ListAccounts, request, &response);
    if (!status.ok()) throw std::runtime_error(status.ToString());
    senders.push_back(response.accounts(0));
  }
  const auto client = clients::MakeDirectoryClient(Connect(options, identity::kRelaySvc));
  return RunCalls(options, [&](int64_t number, Ended ended) {
    const auth::v1::Account& sender = senders[number % kSenders];
    auth::v1::MaySendAsRequest request;
    request.set_account_id(sender.account_id());
    request.add_addresses(sender.address());
    client->MaySendAs(
        NewCall(), std::move(request),
        [ended = std::move(ended)](absl::StatusOr<auth::v1::MaySendAsResponse> answer) {
          if (answer.ok() && !answer->allowed()) {
            ended(absl::UnknownError("not allowed"));
          } else {
            ended(answer.status());
          }
        });
  });
}

int List(const Options& options) {
  const auto stub = DirectoryAdminService::NewStub(Connect(options, identity::kPosternctl));
  Tally tally;
  auth::v1::ListAccountsRequest request;
  request.set_page_size(kPageSize);
  request.set_domain(options.domain);
  auth::v1::ListAccountsResponse response;
  int64_t listed = 0;
  const absl::Time began = absl::Now();
  do {
    const absl::Time asked = absl::Now();
    const absl::Status status =
        Call(*stub, &DirectoryAdminService::Stub::ListAccounts, request, &response);
    // The last page, unless it is the only one, is a shorter one.
    if (!status.ok() || listed == 0 || !response.next_page_token().empty()) {
      tally.Took(absl::Now() - asked, status);
    }
    if (!status.ok()) break;
    listed += response.accounts_size();
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  if (listed < options.accounts) {
    tally.Took(absl::ZeroDuration(), absl::UnknownError(absl::StrCat("listed only ", listed)));
  }
  return tally.Report(absl::Now() - began, listed);
}

int Login(const Options& options) {
  const std::vector<User> users = ReadUsers(options.users_file);
  const auto client = clients::MakeAuthenticationClient(Connect(options, identity::kGatewayPop3));
  return RunCalls(options, [&](int64_t number, Ended ended) {
    const User& user = users[number % users.size()];
    AuthenticateRequest request;
    AuthenticateRequest::Start& start = *request.mutable_start();
    start.set_mechanism("PLAIN");
    start.set_initial_response(absl::StrCat(absl::string_view("\0", 1), user.address,
                                            absl::string_view("\0", 1), user.password));
    start.set_purpose(auth::v1::PURPOSE_MAILDROP);
    start.set_session_nonce("0123456789abcdef");
    start.set_client_address("192.0.2.1:1");
    std::shared_ptr<clients::SaslExchange> exchange = client->Authenticate(NewCall());
    exchange->Step(std::move(request), [exchange, ended = std::move(ended)](
                                           absl::StatusOr<AuthenticateResponse> answer) {
      if (answer.ok() && !answer->has_success()) {
        ended(absl::UnknownError(absl::StrCat("failure ", answer->failure().reason())));
      } else {
        ended(answer.status());
      }
    });
  });
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Load for a directory");
  app.require_subcommand(1);
  const auto add = [&](const char* name, const char* what) {
    CLI::App* command = app.add_subcommand(name, what);
    command->add_option("--target", options.target, "auth-svc's address and port")->required();
    command->add_option("--certificates", options.certificates, "a folder: <identity>.crt, .key")
        ->required();
    command->add_option("--domains", options.domains)->check(CLI::Range(2, 500));
    command->add_option("--parallel", options.parallel)->check(CLI::Range(1, 1000));
    command->add_option("--calls", options.calls)->check(CLI::Range(1, 100000000));
    command->add_option("--accounts", options.accounts)->check(CLI::Range(0, 100000000));
    return command;
  };
  CLI::App* fill = add("fill", "import accounts");
  CLI::App* one_by_one = add("add", "add accounts one by one");
  for (CLI::App* command : {fill, one_by_one}) {
    command->add_option("--first", options.first)->check(CLI::Range(0, 100000000));
  }
  CLI::App* find = add("find", "resolve recipients");
  find->add_flag("--unknown", options.unknown);
  find->add_option("--users", options.users_file);
  CLI::App* postmaster = add("postmaster", "resolve postmaster@ each domain");
  CLI::App* send_as = add("send-as", "ask whether an account may send as itself");
  CLI::App* list = add("list", "list accounts by pages");
  list->add_option("--domain", options.domain);
  CLI::App* login = add("login", "log in");
  login->add_option("--users", options.users_file)->required();
  CLI11_PARSE(app, argc, argv);
  if (fill->parsed()) return Fill(options);
  if (one_by_one->parsed()) return Add(options);
  if (find->parsed()) return Find(options);
  if (postmaster->parsed()) return Postmaster(options);
  if (send_as->parsed()) return SendAs(options);
  if (list->parsed()) return List(options);
  return Login(options);
}

}  // namespace
}  // namespace postern

int main(int argc, char** argv) {
  try {
    return postern::Main(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "directory_load: " << e.what() << "\n";
    return 2;
  }
}
