// What Redis answers, copied out of hiredis.
#ifndef POSTERN_SERVICES_STORAGE_REDIS_REPLY_H_
#define POSTERN_SERVICES_STORAGE_REDIS_REPLY_H_

#include <cstdint>
#include <string>
#include <vector>

namespace postern::storage::redis {

// RESP2 (https://redis.io/docs/reference/protocol-spec/).
struct Reply {
  enum class Type { kNil, kInteger, kText, kError, kArray };
  Type type = Type::kNil;
  int64_t integer = 0;
  // A simple or a bulk string; an error as it came: "NOSCRIPT No matching script".
  std::string text;
  std::vector<Reply> elements;
};

}  // namespace postern::storage::redis

#endif  // POSTERN_SERVICES_STORAGE_REDIS_REPLY_H_
