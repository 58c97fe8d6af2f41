/* Calibration caches: stats as JSON files; docs/CALIBRATION.md describes every key. */
#ifndef VQC_FORMATS_STATS_FILE_H
#define VQC_FORMATS_STATS_FILE_H

#include "core/calibrate/calibrate.h"

enum {
    VQC_STATS_FILE_VERSION = 1,
    VQC_STATS_FILE_MAX_TENSORS = 1 << 14,
    VQC_STATS_FILE_MAX_BYTES = 1 << 28
};

/*
 * Writes the stats to `path` (equal stats give equal bytes); the file appears whole or not at all.
 * Errors: VQC_ERR_IO, VQC_ERR_USAGE (it exists and `overwrite` is false), VQC_ERR_MODEL (more than
 * VQC_STATS_FILE_MAX_TENSORS tensors, counts beyond 2^53).
 */
vqc_status vqc_stats_save(const vqc_stats *stats, const char *path, bool overwrite,
                          vqc_error *error);

/*
 * Reads such a file; every number comes back as it was written. *out is freed by
 * vqc_stats_destroy. Errors: VQC_ERR_IO; VQC_ERR_MODEL for what is not a calibration cache of this
 * version, is cut off, too large, or contradicts itself (the tensor and the key are named).
 */
vqc_status vqc_stats_load(const char *path, vqc_stats **out, vqc_error *error);

/* The same from text [size_bytes]; `path` is for messages. */
vqc_status vqc_stats_parse(const char *path, const char *text, size_t size_bytes, vqc_stats **out,
                           vqc_error *error);

/* Loads several files and merges them in this order. Errors: those above; VQC_ERR_MODEL when they
 * are of different models (both files are named). */
vqc_status vqc_stats_load_merged(const char *const *paths, size_t count, vqc_stats **out,
                                 vqc_error *error);

/* VQC_ERR_MODEL when stats from `path` are not of this model; the message names both. */
vqc_status vqc_stats_check_model(const vqc_stats *stats, const char *path, const vqc_model *model,
                                 vqc_error *error);

#endif
