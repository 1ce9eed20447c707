// defines: table_script(), table_script_policy()
#pragma once
#include <string>

namespace hpm {

/// A few lines of plain script that let a reader sort and filter the tables of class "sortable". Without it they are
/// tables like all others.
const std::string& table_script();

/// The directive of a content security policy that allows this script, by its SHA-256, and no other one.
std::string table_script_policy();

}  // namespace hpm
