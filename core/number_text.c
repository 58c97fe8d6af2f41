#include "core/number_text.h"

#include <string.h>

vqc_number_text vqc_number(uint64_t value)
{
    vqc_number_text out;
    char text[sizeof out.text];
    size_t at = sizeof text - 1;

    text[at] = '\0';
    for (int digits = 0; digits == 0 || value > 0; digits++, value /= 10) {
        if (digits > 0 && digits % 3 == 0) {
            text[--at] = ',';
        }
        text[--at] = (char)('0' + value % 10);
    }
    memcpy(out.text, text + at, sizeof text - at);
    return out;
}
