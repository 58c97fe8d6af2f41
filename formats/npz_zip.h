/* Numbers of the zip format that reader and writer share. Source: PKWARE APPNOTE 6.3. */
#ifndef VQC_FORMATS_NPZ_ZIP_H
#define VQC_FORMATS_NPZ_ZIP_H

#define ZIP_LOCAL_SIGNATURE 0x04034b50u
#define ZIP_ENTRY_SIGNATURE 0x02014b50u
#define ZIP_END_SIGNATURE 0x06054b50u
#define ZIP_END64_SIGNATURE 0x06064b50u
#define ZIP_LOCATOR64_SIGNATURE 0x07064b50u

/* Sizes of the fixed parts of each record. */
enum {
    ZIP_LOCAL_BYTES = 30,
    ZIP_ENTRY_BYTES = 46,
    ZIP_END_BYTES = 22,
    ZIP_END64_BYTES = 56,
    ZIP_LOCATOR64_BYTES = 20,
    ZIP_EXTRA64_ID = 1, /* the extra field that holds 64-bit sizes and offsets */
    ZIP_METHOD_STORED = 0,
    ZIP_METHOD_DEFLATE = 8,
    ZIP_FLAG_ENCRYPTED = 1 << 0,
    ZIP_FLAG_DESCRIPTOR = 1 << 3, /* sizes and CRC follow the data instead of leading them */
    ZIP_FLAG_UTF8 = 1 << 11,
    ZIP_DATE_1980_01_01 = 0x21 /* year - 1980 in bits 9-15, month in 5-8, day in 0-4 */
};

/* Values of narrow fields that send the reader to the zip64 records. */
#define ZIP_SEE_64_16BIT 0xffffu
#define ZIP_SEE_64_32BIT 0xffffffffu

#endif
