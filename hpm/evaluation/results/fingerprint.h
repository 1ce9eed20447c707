// defines: Fingerprint, NewOptions
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "hpm/core/fields.h"
#include "hpm/models/classifier.h"

namespace hpm {

/// What a run that goes on thinks of options that the program has learnt since the run was begun.
enum class NewOptions { refused, fine_at_default };

/// What the results of a run depend on, by name: values after every default is filled in, and contents in place of
/// paths. A run that goes on with another value is refused, and told which. Kept as fingerprint.json in the run
/// directory.
class Fingerprint {
 public:
  void set(const std::string& name, const std::string& value) { values_[name] = value, defaults_.erase(name); }
  /// Every option but those of the sections and names left out (of a path its content is set in another way).
  void add_options(const Fields& options, const std::vector<std::string>& left_out);
  /// SHA-256 of its file, architecture, classes, input and normalisation. `whose`: "the model", "the base".
  void add_model(const std::string& whose, const Classifier& classifier);

  /// Throws Error that names each value which differs from what the run in this folder was begun with. A folder without
  /// fingerprint.json has nothing to compare.
  void require_same(const std::string& folder, NewOptions new_options = NewOptions::refused) const;
  void write(const std::string& folder) const;
  std::string digest() const;  ///< SHA-256 of all
  const std::map<std::string, std::string>& values() const { return values_; }
  /// Whether it is an option with its default, or a value that is empty.
  bool has_default(const std::string& name) const { return defaults_.contains(name) || values_.at(name).empty(); }

 private:
  std::map<std::string, std::string> values_;
  std::set<std::string> defaults_;
};

}  // namespace hpm
