/* Numbers as people read them. */
#ifndef VQC_CORE_NUMBER_TEXT_H
#define VQC_CORE_NUMBER_TEXT_H

#include <stdint.h>

typedef struct vqc_number_text {
    char text[28]; /* 20 digits, 6 commas */
} vqc_number_text;

/* 1724512 -> "1,724,512"; as an argument of printf: vqc_number(n).text. */
vqc_number_text vqc_number(uint64_t value);

#endif
