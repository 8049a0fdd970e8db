// Tests only: a mail server on loopback that answers as it is told.
#ifndef POSTERN_RELAY_SVC_SMTP_SCRIPTED_SERVER_H_
#define POSTERN_RELAY_SVC_SMTP_SCRIPTED_SERVER_H_

#include <list>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"

typedef struct ssl_ctx_st SSL_CTX;

namespace postern::relay {

// Thread-safe. One thread for each connection.
class ScriptedServer {
 public:
  struct Options {
    std::string address = "127.0.0.1";
    // 0: a free one.
    int port = 0;
    // By the start of the command; "CONNECT" is the greeting, "BODY" what comes after the message.
    // Several lines with "\n". What has no entry gets the usual yes. Special replies: "DROP" closes
    // the connection, "DROP-IN-BODY" (for DATA) closes it in the middle of the message.
    std::map<std::string, std::string> replies;
    // Lines of the EHLO answer.
    std::vector<std::string> extensions = {"PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 100000000"};
    // For STARTTLS, which is then offered; without them its reply can only be scripted.
    std::string certificate_file;
    std::string private_key_file;
    // So many recipients in a transaction; one more gets `too_many`. 0: any number.
    int recipients_per_transaction = 0;
    std::string too_many = "452 4.5.3 too many recipients";
    // So many messages in a session; one more MAIL gets `another`. 0: any number.
    int messages_per_session = 0;
    std::string another = "DROP";
  };

  explicit ScriptedServer(Options options);
  ~ScriptedServer();

  int port() const { return port_; }

  struct Seen {
    int sessions = 0;
    std::vector<std::string> commands;
    // As sent, dot-stuffing undone.
    std::vector<std::string> bodies;
    int tls_sessions = 0;
  };
  Seen seen() const;
  int Count(const std::string& command_start) const;

 private:
  void Accept();
  void Serve(int fd);

  const Options options_;
  SSL_CTX* tls_ = nullptr;
  int listener_ = -1;
  int port_ = 0;
  mutable absl::Mutex mutex_;
  Seen seen_ ABSL_GUARDED_BY(mutex_);
  std::list<std::thread> sessions_ ABSL_GUARDED_BY(mutex_);
  std::thread accepting_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_SMTP_SCRIPTED_SERVER_H_
