// The verbs: each parses its arguments, calls the library, prints. They return the exit status.
#pragma once
#include <string>
#include <vector>

namespace hpm::app {

using Arguments = std::vector<std::string>;

int analyze(const Arguments& arguments);
int bench(const Arguments& arguments);
int completion(const Arguments& arguments);
int data(const Arguments& arguments);
int doctor(const Arguments& arguments);
int evaluate(const Arguments& arguments);
int export_model(const Arguments& arguments);
int finetune(const Arguments& arguments);
int gauntlet(const Arguments& arguments);
int inspect(const Arguments& arguments);
int man(const Arguments& arguments);
int merge(const Arguments& arguments);
int predict(const Arguments& arguments);
int report(const Arguments& arguments);
int train(const Arguments& arguments);

}  // namespace hpm::app
