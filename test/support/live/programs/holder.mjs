/**
 * Holds a process still by an import on demand, until it is killed. Its arguments are the URL of
 * mmdump and the pid. It prints how it has stopped the process.
 */
const [, , url, pid] = process.argv;
const { createMachine, importProcess, MiB } = await import(url);
const machine = createMachine({ memory: 64 * MiB });
const imported = await importProcess(machine, Number(pid), { load: 'on-demand', workers: 1 });
console.log(imported.processes[0].stoppedBy);
setInterval(() => imported.mms, 1000);
