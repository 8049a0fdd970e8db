// How many wrong passwords are looked at: by account, and by the client's network.
#ifndef POSTERN_AUTH_SVC_DOMAIN_LOGIN_THROTTLE_H_
#define POSTERN_AUTH_SVC_DOMAIN_LOGIN_THROTTLE_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "services/limits/limits.h"

namespace postern::auth {

// Thread-safe. Who guesses from one network meets the network's limit, who guesses at one account
// from many networks the account's. An account that logged in from a network before has a limit of
// its own there and minds neither of the two: others' guesses do not lock its owner out. Whether
// there is such an account makes no difference.
class LoginThrottle {
 public:
  struct Options {
    // Count 0: no limit.
    limits::Rate network = {100, absl::Minutes(10)};
    limits::Rate account = {20, absl::Minutes(10)};
    absl::Duration remember_network = absl::Hours(24 * 30);
  };

  // `limits` must outlive every call.
  LoginThrottle(Options options, limits::Limits* limits) : options_(options), limits_(limits) {}

  // One attempt. `account`: the address that was named, or "" for none that could be an account's;
  // `network`: net::NetworkOf the client, "" when that is not known.
  struct Attempt {
    std::string account;
    std::string network;
    // May be looked at; it must be settled then.
    bool admitted = true;
    // Otherwise: for how long none is.
    absl::Duration wait;
    // The account has logged in from there before.
    bool known = false;
    // What was charged for it, the account's or the pair's; "": nothing.
    std::string charged;
  };
  void Admit(std::string account, std::string network, limits::Answer<Attempt> done);

  enum class Outcome {
    kAccepted,
    kWrong,
    // Nobody looked: too much else was going on.
    kNotLookedAt,
  };
  void Settle(const Attempt& attempt, Outcome outcome);

 private:
  void Charge(std::string key, const limits::Rate& rate, Attempt attempt,
              limits::Answer<Attempt> done);

  const Options options_;
  limits::Limits* const limits_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_LOGIN_THROTTLE_H_
