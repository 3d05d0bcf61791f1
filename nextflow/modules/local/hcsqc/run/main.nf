process HCSQC_RUN {
    tag "${meta.id}"
    label 'process_medium'

    container "${params.hcsqc_container ?: 'hcs-qc:latest'}"

    input:
    tuple val(meta), path(plate, stageAs: 'plate/*')
    path labels

    output:
    tuple val(meta), path("${prefix}/*.parquet")      , emit: tables
    tuple val(meta), path("${prefix}/report.html")    , emit: report
    tuple val(meta), path("${prefix}/provenance.json"), emit: provenance
    tuple val(meta), path("${prefix}.assay")          , emit: assay
    path 'versions.yml'                               , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def labels_arg = labels ? "--labels ${labels}" : ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    export OMP_NUM_THREADS=${task.cpus}
    hcs-qc run '${prefix}.assay' '${plate}' \\
        --out '${prefix}' \\
        --plate-name '${meta.id}' \\
        --quiet \\
        ${labels_arg} \\
        ${args}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        napari-hcs-qc: \$(hcs-qc --version | sed 's/hcs-qc //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir -p '${prefix}' '${prefix}.assay'
    touch '${prefix}/cells.parquet' '${prefix}/sites.parquet' '${prefix}/wells.parquet'
    touch '${prefix}/report.html' '${prefix}/provenance.json' '${prefix}.assay/assay.json'

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        napari-hcs-qc: stub
    END_VERSIONS
    """
}
