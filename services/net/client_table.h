// How many connections each client has.
#ifndef POSTERN_SERVICES_NET_CLIENT_TABLE_H_
#define POSTERN_SERVICES_NET_CLIENT_TABLE_H_

#include <algorithm>
#include <array>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/synchronization/mutex.h"
#include "boost/asio/ip/address.hpp"

namespace postern::net {

// Thread-safe. An IPv6 client has its /64 for itself, so that counts as one.
class ClientTable {
 public:
  using Key = std::array<unsigned char, 16>;

  static Key KeyOf(const boost::asio::ip::address& address) {
    Key key{};
    if (address.is_v4()) {
      const auto octets = address.to_v4().to_bytes();
      std::copy(octets.begin(), octets.end(), key.begin());
      key[15] = 4;
    } else if (address.to_v6().is_v4_mapped()) {
      return KeyOf(boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address.to_v6()));
    } else {
      const auto octets = address.to_v6().to_bytes();
      std::copy(octets.begin(), octets.begin() + 8, key.begin());
      key[15] = 6;
    }
    return key;
  }

  // False, and not counted, when the client has `limit` already.
  bool Add(const Key& key, int limit) {
    Shard& shard = ShardOf(key);
    absl::MutexLock lock(&shard.mutex);
    int& count = shard.counts[key];
    if (count >= limit) return false;
    ++count;
    return true;
  }
  // Of one that Add counted.
  void Remove(const Key& key) {
    Shard& shard = ShardOf(key);
    absl::MutexLock lock(&shard.mutex);
    const auto found = shard.counts.find(key);
    if (--found->second == 0) shard.counts.erase(found);
  }

 private:
  struct Shard {
    absl::Mutex mutex;
    // As many as there are connections, at most.
    absl::flat_hash_map<Key, int> counts ABSL_GUARDED_BY(mutex);
  };
  Shard& ShardOf(const Key& key) { return shards_[absl::Hash<Key>()(key) % shards_.size()]; }

  std::array<Shard, 16> shards_;
};

}  // namespace postern::net

#endif  // POSTERN_SERVICES_NET_CLIENT_TABLE_H_
