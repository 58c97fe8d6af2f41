/* Comparing what calibrations observed. */
#ifndef VQC_TESTS_UNIT_SAME_STATS_H
#define VQC_TESTS_UNIT_SAME_STATS_H

#include "core/calibrate/calibrate.h"

/* Asserts that both hold the same values, bit for bit. */
void same_stats_assert(const vqc_stats *a, const vqc_stats *b);

#endif
