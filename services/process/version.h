#ifndef POSTERN_SERVICES_PROCESS_VERSION_H_
#define POSTERN_SERVICES_PROCESS_VERSION_H_

namespace postern::process {

// Of every program, image and chart (Semantic Versioning 2.0).
inline constexpr char kVersion[] = "0.1.0";

}  // namespace postern::process

#endif  // POSTERN_SERVICES_PROCESS_VERSION_H_
