/* C reference of the math kernels (kernels/kernel_list_math.h): the shared bodies over plain loops.
 */
#include "kernels/math_portable.h"

#define KERNEL(name) vqc_##name##__c
#include "kernels/math_bodies.h"
