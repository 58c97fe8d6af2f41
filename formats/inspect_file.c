/* vqc_inspect_file(): opens the files and lets core look into them. */
#include "core/inspect.h"
#include "core/vqc.h"
#include "formats/onnx_file.h"

vqc_status vqc_inspect_file(const char *path, const char *ref_path, vqc_inspection **out,
                            vqc_error *error)
{
    vqc_model *model = NULL;
    vqc_model *reference = NULL;
    vqc_status status;

    *out = NULL;
    status = vqc_onnx_open(path, &model, error);
    if (status == VQC_OK && ref_path != NULL) {
        status = vqc_onnx_open(ref_path, &reference, error);
    }
    if (status == VQC_OK) {
        status = vqc_inspect_model(model, reference, out, error);
    }
    vqc_model_destroy(&reference);
    vqc_model_destroy(&model);
    return status;
}
