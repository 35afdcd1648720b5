// What a user could take instead of mmdump. It has a process of its own, since each needs
// gigabytes.
import { serialize, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const bytes = Number(process.argv[2]);
const source = new Uint8Array(bytes).fill(0x5a);
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

/** Starts v86 without a guest: no BIOS and no disk. Every page of its memory is written here. */
async function startV86() {
  const { V86 } = await import('v86');
  const url = import.meta.resolve('v86');
  const emulator = new V86({
    wasm_path: new URL('v86.wasm', url).pathname,
    memory_size: bytes,
    vga_memory_size: 2 ** 21,
    autostart: false,
    disable_keyboard: true,
    disable_mouse: true,
    disable_speaker: true,
  });
  await new Promise((resolve) => emulator.add_listener('emulator-ready', resolve));
  const part = new Uint8Array(2 ** 20).fill(0x5a);
  for (let at = 0; at < bytes; at += part.length) emulator.write_memory(part, at);
  return emulator;
}

let v86;

const PEERS = {
  'v8.serialize': () => serialize(source),
  structuredClone: () => structuredClone(source),
  'v86 save_state': () => v86.save_state(),
};

process.on('message', async (peer) => {
  try {
    if (peer === 'v86 save_state') v86 ??= await startV86();
    const start = performance.now();
    let made = await PEERS[peer]();
    const ms = performance.now() - start;
    const length = made.byteLength ?? made.length;
    made = undefined;
    collect();
    process.send({ ms, length });
  } catch (error) {
    process.send({ failed: String(error?.message ?? error) });
  }
});
process.on('disconnect', () => process.exit());
process.send('ready');
