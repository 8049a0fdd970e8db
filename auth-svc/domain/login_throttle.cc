#include "auth-svc/domain/login_throttle.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace postern::auth {
namespace {

using limits::Verdict;

std::string NetworkKey(const std::string& network) {
  return absl::StrCat("login-failures:network:", network);
}

std::string AccountKey(const std::string& account) {
  return absl::StrCat("login-failures:account:", account);
}

std::string PairKey(const std::string& account, const std::string& network) {
  return absl::StrCat("login-failures:known:", network, ":", account);
}

std::string KnownKey(const std::string& account, const std::string& network) {
  return absl::StrCat("login-known:", network, ":", account);
}

}  // namespace

void LoginThrottle::Charge(std::string key, const limits::Rate& rate, Attempt attempt,
                           limits::Answer<Attempt> done) {
  if (rate.count == 0) {
    done(std::move(attempt));
    return;
  }
  attempt.charged = key;
  // Before the password is looked at, so that a thousand guesses at the same time are no more than
  // one after the other; what was right is given back.
  limits_->Take({std::move(key), rate},
                [attempt = std::move(attempt), done = std::move(done)](Verdict verdict) mutable {
                  attempt.admitted = verdict.allowed;
                  attempt.wait = verdict.wait;
                  done(std::move(attempt));
                });
}

void LoginThrottle::Admit(std::string account, std::string network, limits::Answer<Attempt> done) {
  Attempt attempt{std::move(account), std::move(network)};
  std::string known_key = KnownKey(attempt.account, attempt.network);
  limits_->IsRemembered(std::move(known_key), [this, attempt = std::move(attempt),
                                               done = std::move(done)](bool known) mutable {
    attempt.known = known;
    if (known) {
      std::string key = PairKey(attempt.account, attempt.network);
      Charge(std::move(key), options_.account, std::move(attempt), std::move(done));
      return;
    }
    // Only asked: all of an office may log in for the first time, at the same time.
    auto then = [this, done = std::move(done)](Attempt asked, Verdict verdict) mutable {
      if (!verdict.allowed || asked.account.empty()) {
        asked.admitted = verdict.allowed;
        asked.wait = verdict.wait;
        done(std::move(asked));
        return;
      }
      std::string key = AccountKey(asked.account);
      Charge(std::move(key), options_.account, std::move(asked), std::move(done));
    };
    if (options_.network.count == 0) {
      then(std::move(attempt), Verdict());
      return;
    }
    limits::Charge ask{NetworkKey(attempt.network), options_.network, /*cost=*/0};
    limits_->Take(std::move(ask),
                  [attempt = std::move(attempt), then = std::move(then)](Verdict verdict) mutable {
                    then(std::move(attempt), verdict);
                  });
  });
}

void LoginThrottle::Settle(const Attempt& attempt, Outcome outcome) {
  const auto ignore = [](Verdict) {};
  if (outcome == Outcome::kWrong) {
    if (!attempt.known && options_.network.count > 0) {
      limits_->Take({NetworkKey(attempt.network), options_.network, 1, /*unconditional=*/true},
                    ignore);
    }
    return;
  }
  if (!attempt.charged.empty()) {
    limits_->Take({attempt.charged, options_.account, /*cost=*/-1}, ignore);
  }
  if (outcome == Outcome::kAccepted && !attempt.account.empty()) {
    limits_->Remember(KnownKey(attempt.account, attempt.network), options_.remember_network);
  }
}

}  // namespace postern::auth
