// What a guest of v86 is besides its RAM: the processor, the devices, the memory of the display.
// v86's own `save_state` and `restore_state` handle it, with the RAM left out: two methods of v86,
// which pack the RAM and unpack it, are covered meanwhile by ones that do nothing.

const NO_RAM = {
  bitmap: { get_buffer: () => new ArrayBuffer(0) },
  packed_memory: new Uint8Array(0),
};

/** The state without the RAM. The emulator must be stopped. */
export async function saveDevices(emulator) {
  const { cpu } = emulator.v86;
  cpu.pack_memory = () => NO_RAM;
  try {
    return new Uint8Array(await emulator.save_state());
  } finally {
    delete cpu.pack_memory; // the method of the class is there again
  }
}

/** Puts that state back. The RAM must be back already: v86 then drops its compiled code. */
export async function restoreDevices(emulator, { buffer, byteOffset, byteLength }) {
  const { cpu } = emulator.v86;
  cpu.unpack_memory = () => {};
  try {
    await emulator.restore_state(buffer.slice(byteOffset, byteOffset + byteLength));
  } finally {
    delete cpu.unpack_memory;
  }
}
