#pragma once

#include <cstddef>
#include <new>

namespace insdl {

// A thread's scratch memory, aligned for the widest vectors, kept from call to call.
class Workspace {
  public:
    Workspace() = default;
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    Workspace(Workspace&& other) noexcept : memory_(other.memory_), size_(other.size_) {
        other.memory_ = nullptr;
        other.size_ = 0;
    }
    ~Workspace() { release(); }

    void* get(std::size_t size) {
        if (size > size_) {
            release();
            memory_ = ::operator new(size, kAlignment);
            size_ = size;
        }
        return memory_;
    }

  private:
    static constexpr std::align_val_t kAlignment{64};
    void release() {
        if (memory_) ::operator delete(memory_, kAlignment);
        memory_ = nullptr;
        size_ = 0;
    }
    void* memory_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace insdl
