/* Reading arguments: errors with suggestions, numbers with bounds. */
#ifndef VQC_CLI_ARGS_H
#define VQC_CLI_ARGS_H

#include <getopt.h>
#include <stdbool.h>

/* Prints the error of a getopt_long call that returned `result` ('?' or ':', optstring starting
 * with ':' and opterr = 0), with the nearest option of `options` (closed by a zero row). Returns
 * VQC_ERR_USAGE. */
int vqc_args_bad_option(const char *command, const struct option *options, char **argv, int result);

/* Prints "vqc COMMAND: <message>; see 'vqc COMMAND --help'" and returns VQC_ERR_USAGE. */
int vqc_args_error(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Reads a decimal integer within min..max into *value; false (with an error printed) when it is
 * none. `option` is what to call it: "--jobs". */
bool vqc_args_integer(const char *command, const char *option, const char *text, long min, long max,
                      long *value);

/* Sets *slot to the option's value; false (with an error printed) when it was set before. */
bool vqc_args_once(const char *command, const char *option, const char **slot, const char *value);

#endif
