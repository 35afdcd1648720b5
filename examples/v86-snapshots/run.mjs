// Snapshots of a PC of v86. Its RAM lies in the memory of v86's own wasm module, and stays there:
// the machine adopts it. The processor and the devices are kept beside it, as a blob of bytes.
// The guest counts. After each way back it counts on from where it was, with the same screen.
//
//   node examples/v86-snapshots/run.mjs
import { createDumper, createMachine, MiB, memorySink, openImage } from 'mmdump';
import { restoreDevices, saveDevices } from './devices.mjs';
import { startGuest } from './guest.mjs';

const guest = await startGuest(16 * MiB);
const { emulator, cpu, counter, runBeyond, screen } = guest;
const machine = createMachine({ memory: 32 * MiB, banks: [cpu.wasm_memory] });
const ram = machine.createAddressSpace();
ram.mapFrames({ offset: cpu.mem8.byteOffset, length: cpu.mem8.length, prot: 'rwx' });

/** Lets the guest run a while, and tells whether it went on from `value` without a gap. */
async function goOn(what, value) {
  const isRight = counter() === value;
  await runBeyond(value + 1000);
  const shown = Number.parseInt(screen(), 16);
  const isShown = counter() - shown <= 1 && shown > value;
  console.log(`${what}: ${isRight && isShown ? 'the guest counts on' : 'the guest is lost'}`);
}

await runBeyond(1000);
const devices = await saveDevices(emulator);
const before = counter();
const snapshot = machine.snapshot({ state: { devices } });

// On, and back: the RAM by the snapshot, the rest by v86.
await runBeyond(before + 5000);
snapshot.rewind();
await restoreDevices(emulator, snapshot.state.devices);
await goOn('rewind', before);

// The same through an image, which holds the RAM and the blob.
const dumper = await createDumper({ workers: 1 });
const sink = memorySink();
await dumper.dump(snapshot, { to: sink });
snapshot.drop();
await runBeyond(before + 9000);
const image = await openImage(sink.image);
const { state } = await dumper.restore(image, machine, { into: ram });
await restoreDevices(emulator, state.devices);
await goOn('image', before);

await image.close();
await dumper.close();
await emulator.destroy();
await machine.close();
