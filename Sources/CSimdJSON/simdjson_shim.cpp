#include "penstock_simdjson.h"
