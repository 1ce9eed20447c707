// The text functions lie in hpm/core, where options need them too.
#pragma once
#include "hpm/core/text.h"
