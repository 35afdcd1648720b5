/**
 * Sends itself a signal in the middle of its work, without a listener for it. Its arguments are the
 * URL of mmdump, the signal, and either the pids to import (1,2) or the name of an image to dump.
 */
const [, , url, signal, subject] = process.argv;
const mmdump = await import(url);
const dumper = await mmdump.createDumper({ workers: 2 });
let isSent = false;
const onProgress = ({ phase }) => {
  if (isSent || phase === 'count') return;
  isSent = true;
  process.kill(process.pid, signal);
};
try {
  if (/^[0-9,]+$/.test(subject)) {
    const machine = mmdump.createMachine({ memory: 512 * mmdump.MiB });
    await dumper.importProcess(machine, subject.split(',').map(Number), { onProgress });
  } else {
    const { space } = await mmdump.createWorkload('dense', { size: 32 * mmdump.MiB });
    await dumper.dump(space, { to: mmdump.fileSink(subject), onProgress });
  }
  console.log('survived');
} catch (error) {
  console.log(error.code ?? error.message);
}
process.exit(0);
