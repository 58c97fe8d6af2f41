/* The subcommands. Each gets argv[0] = its own name, handles its own --help (on stdout), prints
 * errors as "vqc: ..." on stderr and returns the process exit code (a vqc_status). It need not
 * flush stdout: main does, and turns a failed write into exit code 4. */
#ifndef VQC_CLI_COMMANDS_H
#define VQC_CLI_COMMANDS_H

/* vqc compress MODEL...: writes smaller models and prints what it cost. */
int vqc_cmd_compress(int argc, char **argv);

/* vqc report MODEL: where the bytes of a model are, and with --ref what was lost. */
int vqc_cmd_report(int argc, char **argv);

/* vqc run MODEL --input FILE: computes the outputs of a model. */
int vqc_cmd_run(int argc, char **argv);

/* vqc eval MODEL --data PATH: accuracy, and with --ref the distance to another model. */
int vqc_cmd_eval(int argc, char **argv);

/* vqc stats CACHE...: what calibration caches hold; with -o joins them. */
int vqc_cmd_stats(int argc, char **argv);

/* vqc bench: times the kernels of this build on this machine. */
int vqc_cmd_bench(int argc, char **argv);

#endif
