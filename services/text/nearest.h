// The word that somebody meant.
#ifndef POSTERN_SERVICES_TEXT_NEAREST_H_
#define POSTERN_SERVICES_TEXT_NEAREST_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace postern::text {

// The one of `known` that is nearest to `word` by edit distance; "" when none is near: more than a
// third of the word would have to change. Costs their lengths' product, and words over 64 octets
// are near to none.
std::string Nearest(absl::string_view word, const std::vector<std::string>& known);

}  // namespace postern::text

#endif  // POSTERN_SERVICES_TEXT_NEAREST_H_
