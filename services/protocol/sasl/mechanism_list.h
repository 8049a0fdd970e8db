// The names of SASL mechanisms that a connection is offered.
#ifndef POSTERN_SERVICES_PROTOCOL_SASL_MECHANISM_LIST_H_
#define POSTERN_SERVICES_PROTOCOL_SASL_MECHANISM_LIST_H_

#include <memory>
#include <string>
#include <vector>

namespace postern::sasl {

// In upper case, in the order in which they are named. Many sessions share one.
using MechanismList = std::shared_ptr<const std::vector<std::string>>;

// What is always offered.
inline const MechanismList& PlainAndLogin() {
  static const auto* const list = new MechanismList(new std::vector<std::string>{"PLAIN", "LOGIN"});
  return *list;
}

}  // namespace postern::sasl

#endif  // POSTERN_SERVICES_PROTOCOL_SASL_MECHANISM_LIST_H_
