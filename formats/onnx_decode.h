/*
 * From the protobuf wire format to the message structs of the generated ONNX header, without
 * copying payloads.
 *
 * protobuf-c's own unpacker is not used: it copies every bytes field, recurses without a bound, and
 * answers "no" without saying where. This one is driven by the same descriptors, checks every tag,
 * varint and length against what remains, and says which field at which byte is wrong. protobuf-c
 * still writes.
 */
#ifndef VQC_FORMATS_ONNX_DECODE_H
#define VQC_FORMATS_ONNX_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "core/error.h"
#include "core/memory.h"

enum {
    /* Messages inside messages. Google's protobuf refuses deeper ones by default as well, so no
     * model that any runtime loads is lost. One nested graph takes three levels (node, attribute,
     * graph). */
    VQC_ONNX_MAX_DEPTH = 100,
    /* Bytes fields of this length and more point into the input; shorter ones are copied. */
    VQC_ONNX_BORROW_BYTES = 64
};

/*
 * Decodes data [size_bytes] as one message of `type` into `arena`. The result borrows `data`: bytes
 * fields of VQC_ONNX_BORROW_BYTES and more and all unknown fields point into it and must not be
 * written to. Strings are copied and end in a NUL. Where protobuf leaves a choice: of a scalar that
 * is given twice the last one counts; a field whose wire type does not fit is kept as an unknown
 * field, as Google's parser does. `name` starts the messages ("model.onnx:
 * graph.node[3].attribute[0].t: byte 1234: ..."). Errors: VQC_ERR_MODEL: truncated or malformed,
 * groups, a singular message given twice, a string with a NUL, deeper than VQC_ONNX_MAX_DEPTH;
 * VQC_ERR_INTERNAL: out of memory.
 */
vqc_status vqc_onnx_decode(const ProtobufCMessageDescriptor *type, const uint8_t *data,
                           size_t size_bytes, const char *name, vqc_arena *arena,
                           ProtobufCMessage **message, vqc_error *error);

#endif
