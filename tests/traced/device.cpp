// A device of type "cuda" on a machine without one, for tensors that are traced and never computed. What torch's
// dispatcher and its engine of backward passes ask a device for is answered here: which one, which stream.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {

constexpr auto CUDA = c10::DeviceType::CUDA;

struct Hooks final : at::CUDAHooksInterface {
  bool hasCUDA() const override { return true; }
  bool isBuilt() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};

struct Guard final : c10::impl::NoOpDeviceGuardImpl<CUDA> {
  c10::Device exchangeDevice(c10::Device) const override { return {CUDA, 0}; }
  c10::Device getDevice() const override { return {CUDA, 0}; }
  c10::Stream getStream(c10::Device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, {CUDA, 0});
  }
};

std::unique_ptr<at::CUDAHooksInterface> hooks(at::CUDAHooksArgs) { return std::make_unique<Hooks>(); }

// Before torch is imported: it asks for the hooks once.
const bool registered = [] {
  at::CUDAHooksRegistry()->Register("CUDAHooks", hooks, c10::REGISTRY_PREFERRED);
  return true;
}();

}  // namespace

// After torch is imported: a build for CUDA has put its own guard there.
extern "C" void install() { static const c10::impl::DeviceGuardImplRegistrar guard(CUDA, new Guard); }
