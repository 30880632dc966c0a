from django.urls import path

from longboard.submissions import views

urlpatterns = [
    path("submit/", views.submit, name="submit"),
    path("submit/price/", views.price, name="price"),
    path("submissions/<uuid:submission_id>/", views.submission, name="submission"),
    path("submissions/<uuid:submission_id>/cancel/", views.cancel_submission, name="cancel-submission"),
    path("runs/<uuid:run_id>/", views.run, name="run"),
    path("runs/<uuid:run_id>/bundle.json", views.run_bundle, name="run-bundle"),
    path("runs/<uuid:run_id>/cancel/", views.cancel_run, name="cancel-run"),
    path("runs/<uuid:run_id>/rerun/", views.rerun, name="rerun"),
]
