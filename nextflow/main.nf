// Every plate of a folder through HCSQC_RUN.
include { HCSQC_RUN } from './modules/local/hcsqc/run/main'

params.plates = null
params.labels = null
params.outdir = 'results'
params.hcsqc_container = null

workflow {
    if (!params.plates) {
        error("Name the plates: --plates 'raw/*'")
    }
    plates = Channel.fromPath(params.plates, type: 'any', checkIfExists: true)
        .map { plate -> [[id: plate.baseName], plate] }
    labels = params.labels ? file(params.labels, checkIfExists: true) : []
    HCSQC_RUN(plates, labels)
}
