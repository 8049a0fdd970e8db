// What group commit counts, whichever database commits.
#ifndef POSTERN_SERVICES_STORAGE_SQL_COMMIT_METRICS_H_
#define POSTERN_SERVICES_STORAGE_SQL_COMMIT_METRICS_H_

#include <string>

#include "services/telemetry/metrics.h"

namespace postern::storage {

struct CommitMetrics {
  // The label `database`.
  explicit CommitMetrics(const std::string& database)
      : group_size(telemetry::GetSizeHistogram("postern_storage_group_size",
                                               "Writes that one transaction committed",
                                               {{"database", database}})),
        commit_seconds(telemetry::GetLatencyHistogram(
            "postern_storage_commit_seconds", "COMMIT with its fsync", {{"database", database}})),
        commits(telemetry::GetCounter("postern_storage_commits_total", "Transactions committed",
                                      {{"database", database}})),
        failures(telemetry::GetCounter("postern_storage_commit_failures_total",
                                       "Transactions that could not be committed",
                                       {{"database", database}})) {}

  telemetry::Histogram& group_size;
  telemetry::Histogram& commit_seconds;
  telemetry::Counter& commits;
  telemetry::Counter& failures;
};

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_SQL_COMMIT_METRICS_H_
