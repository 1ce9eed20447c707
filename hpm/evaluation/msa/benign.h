// defines: BenignOptions, BenignModel, asked_malicious(), malicious_numbers(), check_malicious(), benign_passes()
#pragma once
#include <string>
#include <vector>

#include "hpm/evaluation/msa/batch_part.h"

namespace hpm {

class Fields;

/// Malicious neighbours against the untouched images of their batch, all of them at once (T. Wu et al., "Uncovering
/// adversarial risks of test-time adaptation", ICML 2023, arXiv:2301.12576, the indiscriminate attack).
struct BenignOptions {
  /// Numbers of malicious images in a batch. None given: a quarter of the batch in the versions standard and plus, else
  /// no study. 0 is no study in any version.
  std::vector<int64_t> malicious = {};
  int64_t steps = 50;  ///< of APGD on the cross-entropy of the untouched images, with each surrogate marked in_crowds
};
void fields(Fields& f, BenignOptions& o);  ///< all but the steps

/// A batch of which some rows attack the others. The query is the whole batch as one object: what it holds in the rows
/// of the attacker counts, the other rows are taken as they were. An attacker's row is always right and has no loss, so
/// that the worst batch is the one with the fewest untouched images right.
class BenignModel : public BatchPartModel {
 public:
  /// As BatchPartModel, whose rows are the attacker's; `labels` [B].
  BenignModel(BatchPart part, Tensor labels);
  Answer ask(const Query& query, const Loss* loss) override;

 private:
  Tensor labels_;
};

/// The numbers given, without 0.
std::vector<int64_t> asked_malicious(const BenignOptions& options);

/// The numbers that are tried in batches of `company` images.
std::vector<int64_t> malicious_numbers(const BenignOptions& options, const std::string& version, int64_t company);

/// Throws UsageError for numbers of malicious images below 0, or that leave no untouched one in batches of `company`.
void check_malicious(const BenignOptions& options, int64_t company);

/// Image passes of the study for an image, at most, in batches of `company`.
Passes benign_passes(const BenignOptions& options, const std::string& version, int64_t company, int64_t surrogates);

}  // namespace hpm
