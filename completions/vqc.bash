# bash completion for vqc

_vqc_files() {
    # Folders and files with one of the endings given.
    local ending
    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "$cur")
    for ending in "$@"; do
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -X "!*$ending" -- "$cur")
    done
}

_vqc_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_vqc() {
    local cur=${COMP_WORDS[COMP_CWORD]}
    local prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]}
    COMPREPLY=()

    if [ "$COMP_CWORD" -eq 1 ]; then
        _vqc_words 'compress report run eval stats bench help --help --version'
        return
    fi

    # bash splits --cpu=c into three words
    if [ "$cur" = '=' ]; then
        cur=
    elif [ "$prev" = '=' ]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    case $command:$prev in
    compress:-c | compress:--config) _vqc_files .yaml .yml ;;
    compress:-o | compress:--output) _vqc_files .onnx ;;
    compress:--report | compress:--calib-cache | stats:-o | stats:--output) _vqc_files .json ;;
    compress:--calib | compress:--eval) _vqc_files .npz .npy ;;
    compress:--cpu) _vqc_words 'c avx2 avx512 neon' ;;
    bench:--cpu) _vqc_words 'c avx2 avx512 neon all' ;;
    compress:-j | compress:--jobs | run:-j | run:--threads | eval:-j | eval:--threads) _vqc_words "$(seq "$(nproc 2>/dev/null || echo 4)")" ;;
    compress:--set)
        compopt -o nospace 2>/dev/null
        _vqc_words 'weights.codec= weights.bits= weights.granularity= weights.block_size=
            weights.symmetric= weights.range= weights.percentile= weights.reduce_range=
            weights.min_elements= weights.pattern= target.operators= target.objective=
            activations= target.output_sqnr_db= target.max_accuracy_drop= target.fallback=
            static.format= static.type= static.operators= static.observer= static.weight_codes=
            static.bias_correction= static.equalize= gates.min_output_sqnr_db= gates.min_cosine=
            gates.max_accuracy_drop= gates.max_size_ratio= gates.min_weight_sqnr_db= gates.on_miss=
            report.sort= report.top= report.file='
        ;;
    report:--ref | eval:--ref) _vqc_files .onnx ;;
    run:-i | run:--input | eval:-d | eval:--data) _vqc_files .npz .npy .pb ;;
    run:-o | run:--output) _vqc_files .npz .pb ;;
    eval:--labels) _vqc_files .tsv .csv .txt ;;
    run:--image | eval:--image)
        compopt -o nospace 2>/dev/null
        _vqc_words 'resize= crop= filter= order= layout= mean= scale= std='
        ;;
    run:--samples | eval:--samples | eval:--label-offset) ;;
    report:--sort) _vqc_words 'bytes error' ;;
    report:--top) ;;
    help:*) _vqc_words 'compress report run eval stats bench' ;;
    compress:*)
        case $cur in
        -*) _vqc_words '--config --output --set --calib --calib-cache --eval --dry-run --force --report --json --verbose
            --quiet --jobs --cpu --help -c -o -v -q -j -h' ;;
        *) _vqc_files .onnx ;;
        esac
        ;;
    stats:*)
        case $cur in
        -*) _vqc_words '--output --force --quiet --help -o -q -h' ;;
        *) _vqc_files .json ;;
        esac
        ;;
    report:*)
        case $cur in
        -*) _vqc_words '--ref --sort --top --json --csv --help -h' ;;
        *) _vqc_files .onnx ;;
        esac
        ;;
    run:*)
        case $cur in
        -*) _vqc_words '--input --output --samples --image --profile --force --threads --help -i -o -j -h' ;;
        *) _vqc_files .onnx ;;
        esac
        ;;
    eval:*)
        case $cur in
        -*) _vqc_words '--data --labels --label-offset --ref --image --samples --json --threads --help
            -d -j -h' ;;
        *) _vqc_files .onnx ;;
        esac
        ;;
    bench:*) _vqc_words '--kernel --cpu --json --help -h' ;;
    esac
}

complete -F _vqc vqc
