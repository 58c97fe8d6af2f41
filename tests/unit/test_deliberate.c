/* Proves that the unit runner can fail: tests/self_test.sh sets the variable and expects a failure.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

Test(deliberate, failure)
{
    cr_assert(getenv("VQC_DELIBERATE_FAILURE") == NULL, "a deliberate failure");
}
