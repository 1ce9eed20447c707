// defines: Company, draw_companies(), Context, context_logits(), prediction_logits()
#pragma once
#include <memory>
#include <vector>

#include "hpm/prototypes/head.h"

namespace hpm {

/// Which images form a batch together, and the statistics of their clean versions. The statistics come from one clean
/// pass that is kept: a verdict cannot change because a neighbour was computed again. Images are known by their numbers
/// (Query::index).
class Company {
 public:
  /// The images `index` [n] int64 in an order drawn from `seed` (0: their own order), cut into batches of `size`; the
  /// last one is short, never wrapped. z [n,D], o [n,K]: their clean features and FC logits, row by row.
  Company(const HpmHead& head, const Tensor& index, const Tensor& z, const Tensor& o, int64_t size, uint64_t seed);

  /// The statistics in the space of the distances. Valid for the head that the company was made with (see Neighbours).
  const Neighbours& neighbours() const { return neighbours_; }
  /// The company of rows that are versions of the images `index` [N]. The last answer is kept, because an attack asks
  /// for the same rows again and again; so several threads must not call this at once. Throws Error for an image that
  /// is in no batch.
  RowCompany rows(const Tensor& index) const;
  /// The batches, as image numbers.
  const std::vector<Tensor>& batches() const { return batches_; }
  int64_t size() const { return size_; }

 private:
  int64_t size_;
  std::vector<Tensor> batches_;
  Neighbours neighbours_;
  Tensor position_;  // [largest index + 1]: member of neighbours_, -1 where absent
  struct Asked;
  mutable std::shared_ptr<const Asked> last_;
};

constexpr int64_t kCompanyDraws = 10;  ///< batches of each image in solo-eot

/// `count` companies of the same images, in other orders than `seed` gives: the draws of the context solo-eot.
std::vector<std::shared_ptr<const Company>> draw_companies(const HpmHead& head, const Tensor& index, const Tensor& z,
                                                           const Tensor& o, int64_t size, uint64_t seed,
                                                           int64_t count = kCompanyDraws);

/// A context, with the companies that it needs.
struct Context {
  ContextKind kind = ContextKind::reference;
  std::shared_ptr<const Company> company = nullptr;        ///< of solo, and for the batches of joint
  std::vector<std::shared_ptr<const Company>> draws = {};  ///< of solo-eot
};

/// The head's logits in a context; in solo-eot their average over the draws, whose gradient is the expectation over
/// transformations of A. Athalye et al., "Synthesizing robust adversarial examples", arXiv:1707.07397. h [N,R], index
/// [N] (which images the rows are; read by solo and solo-eot) -> [N,K].
Tensor context_logits(const HpmHead& head, const Context& context, const Tensor& h, const Assigned& assigned,
                      const Tensor& index, const HeadOptions& options = {});

/// The logits of the true prediction, which assigns by argmax. In solo-eot they are votes: the number of draws that
/// predict each class, plus half the softmax of the averaged logits, which decides ties.
Tensor prediction_logits(const HpmHead& head, const Context& context, const Tensor& z, const Tensor& o,
                         const Tensor& index, const HeadOptions& options = {});
/// The same from h = head.embed(z) and the hard assignment of o, for callers that ask about several contexts.
Tensor prediction_logits(const HpmHead& head, const Context& context, const Tensor& h, const Assigned& assigned,
                         const Tensor& index, const HeadOptions& options = {});

}  // namespace hpm
