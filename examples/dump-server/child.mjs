// A program that the server runs: it keeps something in memory, and ends with its parent.
const kept = Buffer.alloc(2 ** 20, `${process.argv[2]} `);
process.stdin.resume();
process.stdin.on('end', () => process.exit(kept.length > 0 ? 0 : 1));
process.stdout.write('ready\n');
