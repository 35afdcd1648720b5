// A PC of v86 whose guest counts, and shows the count on its screen. It needs no file and no
// network: its firmware copies the boot sector below to 0x7c00 and jumps there, as a BIOS does.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { V86 } from 'v86';

/** Where the guest keeps its counter, in guest RAM. */
export const COUNTER = 0x1000;

/** 16-bit code at 0x7c00. The screen shows the eight hexadecimal digits of the counter. */
const BOOT_SECTOR = [
  ...[0x31, 0xc0, 0x8e, 0xd8], //              xor ax, ax; mov ds, ax
  ...[0xb8, 0x00, 0xb8, 0x8e, 0xc0], //        mov ax, 0xb800; mov es, ax
  ...[0x66, 0xff, 0x06, 0x00, 0x10], //  next: inc dword [COUNTER]
  ...[0x66, 0xa1, 0x00, 0x10], //              mov eax, [COUNTER]
  ...[0xbf, 0x0e, 0x00], //                    mov di, 14: the column of the lowest digit
  ...[0x88, 0xc3, 0x80, 0xe3, 0x0f], //  more: mov bl, al; and bl, 15
  ...[0x80, 0xc3, 0x30, 0x80, 0xfb, 0x3a], //  add bl, '0'; cmp bl, '9' + 1
  ...[0x72, 0x03, 0x80, 0xc3, 0x27], //        jb +3; add bl, 'a' - '9' - 1
  ...[0x26, 0x88, 0x1d], //                    mov es:[di], bl
  ...[0x66, 0xc1, 0xe8, 0x04], //              shr eax, 4
  ...[0x83, 0xef, 0x02, 0x79, 0xe4], //        sub di, 2; jns more
  ...[0xeb, 0xd6], //                          jmp next
];

/** 64 KiB that end at 1 MiB. The processor starts 16 bytes before the end. */
function firmware() {
  const bytes = new Uint8Array(0x10000).fill(0xf4);
  bytes.set([
    ...[0x0e, 0x1f, 0x31, 0xc0, 0x8e, 0xc0], //      push cs; pop ds; xor ax, ax; mov es, ax
    ...[0xbe, 0x00, 0x01, 0xbf, 0x00, 0x7c], //      mov si, 0x100; mov di, 0x7c00
    ...[0xb9, 0x00, 0x01, 0xfc, 0xf3, 0xa5], //      mov cx, 256; cld; rep movsw
    ...[0xba, 0xce, 0x03, 0xb8, 0x06, 0x0e, 0xef], // out 0x3ce: the display lies at 0xb8000
    ...[0xba, 0xce, 0x03, 0xb8, 0x05, 0x10, 0xef], // out 0x3ce: odd and even bytes
    ...[0xba, 0xc4, 0x03, 0xb8, 0x02, 0x03, 0xef], // out 0x3c4: planes 0 and 1
    ...[0xba, 0xc4, 0x03, 0xb8, 0x04, 0x02, 0xef], // out 0x3c4: as text
    ...[0xea, 0x00, 0x7c, 0x00, 0x00], //            jmp 0:0x7c00
  ]);
  bytes.set(BOOT_SECTOR, 0x100);
  bytes.set([0xea, 0x00, 0x00, 0x00, 0xf0], 0xfff0); // jmp 0xf000:0
  return bytes.buffer;
}

/** Starts a PC with `bytes` bytes of RAM. */
export async function startGuest(bytes) {
  const wasm = readFileSync(createRequire(import.meta.url).resolve('v86/build/v86.wasm'));
  const emulator = new V86({
    wasm_fn: async (imports) => {
      return (await WebAssembly.instantiate(wasm, imports)).instance.exports;
    },
    memory_size: bytes,
    vga_memory_size: 2 ** 21,
    bios: { buffer: firmware() },
    hda: { buffer: new ArrayBuffer(2 ** 16) }, // v86 cannot restore a PC without a disk
    autostart: true,
  });
  const digits = Array(8).fill('0');
  emulator.add_listener('screen-put-char', ([row, column, character]) => {
    if (row === 0 && column < 8) digits[column] = String.fromCharCode(character);
  });
  await new Promise((resolve) => emulator.add_listener('emulator-started', resolve));
  const { cpu } = emulator.v86;
  // The view is made anew each time, since the memory of v86 may grow.
  const counter = () => {
    const at = cpu.mem8.byteOffset + COUNTER;
    return new DataView(cpu.wasm_memory.buffer).getUint32(at, true);
  };
  /** Lets the guest run until it has counted beyond `value`, and stops it. */
  const runBeyond = async (value) => {
    await emulator.run();
    while (counter() <= value) await new Promise((resolve) => setImmediate(resolve));
    await emulator.stop();
  };
  return { emulator, cpu, counter, runBeyond, screen: () => digits.join('') };
}
