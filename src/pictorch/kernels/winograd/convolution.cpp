// 3x3 convolutions with stride 1 and padding 1 by Winograd's F(4x4, 3x3), for one instruction set.
//
// Tiles go through in chunks whose transforms stay in the second-level cache. Sums do not depend on which
// thread takes which chunk, so the same number of threads gives the same bits.
#include "convolve.h"
#include "weight_gradient.h"

namespace FORM {

#define NAME_OF(form) #form
#define NAME(form) NAME_OF(form)
extern const Form form;
const Form form = {NAME(FORM),     convolve_memory, input_gradient_memory, weight_gradient_memory, convolve,
                   input_gradient, weight_gradient};

}  // namespace FORM
