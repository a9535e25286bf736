"""What the scripts that write golden values share: arrays as C, and functions with their gradients."""
import textwrap


def emit(name, tensor, digits=15):
    values = ", ".join(f"{v:.{digits}g}" for v in tensor.detach().reshape(-1).tolist())
    print(f"static const double {name}[] = {{")
    print(textwrap.fill(values, 116, initial_indent="    ", subsequent_indent="    ") + "};")


def function(name, f, numbers, digits=15, **inputs):
    """Inputs, out = f(inputs), the weights p = numbers(shape of out) of L = sum(p * out), and dL of each input."""
    leaves = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in inputs.items()}
    y = f(**leaves)
    p = numbers(*y.shape)
    (p * y).sum().backward()
    emit(f"{name}_out", y, digits)
    emit(f"{name}_p", p, digits)
    for k, v in leaves.items():
        emit(f"{name}_{k}", v, digits)
        if v.grad is not None:
            emit(f"{name}_d{k}", v.grad, digits)
