#include "auth-svc/ldap/connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ldap.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openldap.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"

namespace postern::auth::ldap {
namespace {

struct FreeMessage {
  void operator()(LDAPMessage* message) const { ldap_msgfree(message); }
};
using Message = std::unique_ptr<LDAPMessage, FreeMessage>;

std::string Diagnostic(LDAP* handle) {
  char* text = nullptr;
  if (ldap_get_option(handle, LDAP_OPT_DIAGNOSTIC_MESSAGE, &text) != LDAP_OPT_SUCCESS ||
      text == nullptr) {
    return "";
  }
  const absl::Cleanup free = [text] { ldap_memfree(text); };
  return text;
}

// The socket, connected; or why not.
absl::StatusOr<int> Connect(const ServerAddress& server, absl::Time deadline) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int resolved =
      getaddrinfo(server.host.c_str(), std::to_string(server.port).c_str(), &hints, &found);
  if (resolved != 0) {
    return absl::UnavailableError(absl::StrCat(server.url, ": ", gai_strerror(resolved)));
  }
  const absl::Cleanup free = [found] { freeaddrinfo(found); };
  absl::Status why = absl::UnavailableError(absl::StrCat(server.url, ": has no address"));
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    const int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return absl::UnavailableError(absl::StrCat("socket: ", std::strerror(errno)));
    int error = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      pollfd writable{fd, POLLOUT, 0};
      const int64_t wait = absl::ToInt64Milliseconds(deadline - absl::Now());
      socklen_t size = sizeof error;
      if (poll(&writable, 1, static_cast<int>(std::max<int64_t>(wait, 0))) != 1) {
        error = ETIMEDOUT;
      } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
      }
    }
    if (error == 0) {
      fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
      return fd;
    }
    close(fd);
    why = error == ETIMEDOUT
              ? absl::DeadlineExceededError(absl::StrCat(server.url, ": takes no connection"))
              : absl::UnavailableError(absl::StrCat(server.url, ": ", std::strerror(error)));
  }
  return why;
}

// libldap's TLS handshake knows no timeout: the socket is shut down under it.
template <typename Body>
bool InTime(int fd, absl::Time deadline, const Body& body) {
  absl::Notification done;
  bool cut = false;
  std::thread watchdog([&] {
    if (done.WaitForNotificationWithDeadline(deadline)) return;
    cut = true;
    shutdown(fd, SHUT_RDWR);
  });
  body();
  done.Notify();
  watchdog.join();
  return !cut;
}

int SetOptions(LDAP* handle, const std::string& ca_file, absl::Duration timeout) {
  const int version = LDAP_VERSION3;
  int result = ldap_set_option(handle, LDAP_OPT_PROTOCOL_VERSION, &version);
  // A referral would carry our password to whoever it names.
  if (result == 0) result = ldap_set_option(handle, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
  const timeval limit = absl::ToTimeval(timeout);
  if (result == 0) result = ldap_set_option(handle, LDAP_OPT_TIMEOUT, &limit);
  if (result != 0 || ca_file.empty()) return result;
  const int demand = LDAP_OPT_X_TLS_DEMAND;
  const int lowest = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
  const int client = 0;
  result = ldap_set_option(handle, LDAP_OPT_X_TLS_CACERTFILE, ca_file.c_str());
  if (result == 0) result = ldap_set_option(handle, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
  if (result == 0) result = ldap_set_option(handle, LDAP_OPT_X_TLS_PROTOCOL_MIN, &lowest);
  // Reads the files anew.
  if (result == 0) result = ldap_set_option(handle, LDAP_OPT_X_TLS_NEWCTX, &client);
  return result;
}

// What the server says of an account beside its result (draft-behera-ldap-password-policy).
std::string PolicyDetail(LDAP* handle, LDAPControl** controls) {
  LDAPControl* const control =
      ldap_control_find(LDAP_CONTROL_PASSWORDPOLICYRESPONSE, controls, nullptr);
  ber_int_t expires = -1;
  ber_int_t grace = -1;
  LDAPPasswordPolicyError error = PP_noError;
  if (control == nullptr ||
      ldap_parse_passwordpolicy_control(handle, control, &expires, &grace, &error) !=
          LDAP_SUCCESS ||
      error == PP_noError) {
    return "";
  }
  return ldap_passwordpolicy_err2txt(error);
}

}  // namespace

bool ServerAddress::IsLoopback() const {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost";
}

absl::StatusOr<ServerAddress> ParseServer(absl::string_view url) {
  const std::string text(url);
  LDAPURLDesc* parsed = nullptr;
  const int result = ldap_url_parse(text.c_str(), &parsed);
  const absl::Cleanup free = [&parsed] { ldap_free_urldesc(parsed); };
  const absl::string_view expected = "expected ldap://HOST, ldaps://HOST, or with :PORT behind";
  if (result != LDAP_URL_SUCCESS || parsed->lud_host == nullptr || *parsed->lud_host == '\0') {
    return absl::InvalidArgumentError(absl::StrCat("\"", url, "\": ", expected));
  }
  ServerAddress server{text, parsed->lud_host, parsed->lud_port,
                       absl::EqualsIgnoreCase(parsed->lud_scheme, "ldaps")};
  if (!server.ldaps && !absl::EqualsIgnoreCase(parsed->lud_scheme, "ldap")) {
    return absl::InvalidArgumentError(absl::StrCat("\"", url, "\": ", expected));
  }
  if (parsed->lud_dn != nullptr && *parsed->lud_dn != '\0') {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", url, "\": ", expected, "; what is searched is base_dn's to say"));
  }
  if (server.port == 0) server.port = server.ldaps ? LDAPS_PORT : LDAP_PORT;
  return server;
}

const std::vector<std::string>& Entry::Values(const std::string& attribute) const {
  static const auto* const none = new std::vector<std::string>();
  const auto found = attributes.find(attribute);
  return found == attributes.end() ? *none : found->second;
}

absl::Status ToStatus(int result, absl::string_view diagnostic, absl::string_view what) {
  if (result == LDAP_SUCCESS) return absl::OkStatus();
  std::string message = absl::StrCat(what, ": ", ldap_err2string(result));
  if (!diagnostic.empty()) absl::StrAppend(&message, " (", diagnostic, ")");
  switch (result) {
    case LDAP_TIMEOUT:
    case LDAP_TIMELIMIT_EXCEEDED:
      return absl::DeadlineExceededError(message);
    case LDAP_SERVER_DOWN:
    case LDAP_CONNECT_ERROR:
    case LDAP_BUSY:
    case LDAP_UNAVAILABLE:
    case LDAP_NO_MEMORY:
      return absl::UnavailableError(message);
    case LDAP_NO_SUCH_OBJECT:
      return absl::NotFoundError(message);
    case LDAP_SIZELIMIT_EXCEEDED:
      return absl::OutOfRangeError(message);
    default:
      return absl::FailedPreconditionError(message);
  }
}

void Connection::Unbind::operator()(::ldap* handle) const {
  ldap_unbind_ext(handle, nullptr, nullptr);
}

absl::StatusOr<Connection> Connection::Open(const ServerAddress& server, const std::string& ca_file,
                                            absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  absl::StatusOr<int> fd = Connect(server, deadline);
  if (!fd.ok()) return fd.status();
  const timeval limit = absl::ToTimeval(timeout);
  const int on = 1;
  setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  LDAP* made = nullptr;
  int result = ldap_init_fd(*fd, LDAP_PROTO_TCP, server.url.c_str(), &made);
  if (result != LDAP_SUCCESS) {
    close(*fd);
    return ToStatus(result, "", server.url);
  }
  Connection connection(std::unique_ptr<::ldap, Unbind>(made), timeout);
  result = SetOptions(made, ca_file, timeout);
  if (result != LDAP_SUCCESS) {
    return absl::FailedPreconditionError(
        absl::StrCat(server.url, ": TLS cannot be set up with ca_file ", ca_file));
  }
  if (ca_file.empty()) return connection;
  const bool in_time = InTime(*fd, deadline, [&] {
    result = server.ldaps ? ldap_install_tls(made) : ldap_start_tls_s(made, nullptr, nullptr);
  });
  if (!in_time) {
    return absl::DeadlineExceededError(
        absl::StrCat(server.url, ": finishes no TLS handshake in ", absl::FormatDuration(timeout)));
  }
  if (result != LDAP_SUCCESS) {
    // libldap has no better word for it. Another server may do better.
    return absl::UnavailableError(absl::StrCat(
        server.url, ": the TLS handshake failed (", ldap_err2string(result),
        "): is its certificate signed by a CA of ", ca_file, ", and for ", server.host, "?"));
  }
  return connection;
}

absl::StatusOr<BindResult> Connection::Bind(const std::string& dn, const std::string& password) {
  if (password.empty() && !dn.empty()) return BindResult{false, "empty password"};
  berval credentials{password.size(), const_cast<char*>(password.data())};
  LDAPControl* policy = nullptr;
  ldap_create_passwordpolicy_control(handle(), &policy);
  const absl::Cleanup free_policy = [policy] {
    if (policy != nullptr) ldap_control_free(policy);
  };
  LDAPControl* asked[] = {policy, nullptr};
  int id = 0;
  int result =
      ldap_sasl_bind(handle(), dn.c_str(), LDAP_SASL_SIMPLE, &credentials, asked, nullptr, &id);
  if (result != LDAP_SUCCESS) return ToStatus(result, Diagnostic(handle()), "bind");
  timeval limit = absl::ToTimeval(timeout_);
  LDAPMessage* received = nullptr;
  const int kind = ldap_result(handle(), id, LDAP_MSG_ALL, &limit, &received);
  const Message message(received);
  if (kind == 0) return absl::DeadlineExceededError("bind: no answer in time");
  if (kind < 0) return absl::UnavailableError("bind: the connection broke");
  char* said = nullptr;
  LDAPControl** controls = nullptr;
  const int parsed = ldap_parse_result(handle(), message.get(), &result, nullptr, &said, nullptr,
                                       &controls, /*freeit=*/0);
  const absl::Cleanup free_parsed = [&said, &controls] {
    ldap_memfree(said);
    ldap_controls_free(controls);
  };
  if (parsed != LDAP_SUCCESS) return ToStatus(parsed, "", "bind");
  std::string detail = PolicyDetail(handle(), controls);
  if (detail.empty() && said != nullptr) detail = said;
  switch (result) {
    case LDAP_SUCCESS:
      return BindResult{true, std::move(detail)};
    case LDAP_INVALID_CREDENTIALS:
    case LDAP_NO_SUCH_OBJECT:
    case LDAP_INVALID_DN_SYNTAX:
    case LDAP_INAPPROPRIATE_AUTH:
    case LDAP_CONSTRAINT_VIOLATION:
    case LDAP_UNWILLING_TO_PERFORM:
      if (result != LDAP_INVALID_CREDENTIALS) {
        detail = absl::StrCat(ldap_err2string(result), detail.empty() ? "" : ": ", detail);
      }
      return BindResult{false, std::move(detail)};
    default:
      return ToStatus(result, detail, "bind");
  }
}

absl::StatusOr<std::vector<Entry>> Connection::Search(const Query& query, int limit) {
  std::vector<char*> names;
  for (const std::string& name : query.attributes) names.push_back(const_cast<char*>(name.c_str()));
  names.push_back(nullptr);
  timeval wait = absl::ToTimeval(timeout_);
  LDAPMessage* received = nullptr;
  const int result = ldap_search_ext_s(handle(), query.base.c_str(),
                                       query.base_only ? LDAP_SCOPE_BASE : LDAP_SCOPE_SUBTREE,
                                       query.filter.c_str(), names.data(), /*attrsonly=*/0, nullptr,
                                       nullptr, &wait, limit, &received);
  const Message message(received);
  if (result == LDAP_SUCCESS && message == nullptr) {
    return absl::UnavailableError("search: the connection broke");
  }
  if (result != LDAP_SUCCESS) {
    return ToStatus(result, Diagnostic(handle()),
                    absl::StrCat("search for ", query.filter, " in \"", query.base, "\""));
  }
  std::vector<Entry> entries;
  for (LDAPMessage* e = ldap_first_entry(handle(), message.get()); e != nullptr;
       e = ldap_next_entry(handle(), e)) {
    Entry entry;
    char* const dn = ldap_get_dn(handle(), e);
    if (dn != nullptr) entry.dn = dn;
    ldap_memfree(dn);
    for (const std::string& name : query.attributes) {
      berval** const values = ldap_get_values_len(handle(), e, name.c_str());
      if (values == nullptr) continue;
      for (berval** value = values; *value != nullptr; ++value) {
        entry.attributes[name].emplace_back((*value)->bv_val, (*value)->bv_len);
      }
      ldap_value_free_len(values);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace postern::auth::ldap
